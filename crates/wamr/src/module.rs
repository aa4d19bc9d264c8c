//! A loaded module.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use wamr_sys as sys;

use crate::{Engine, Error, ModuleSource, PAGE_SIZE, Result};

/// First four bytes of wasm modules and components.
const WASM_MAGIC: &[u8] = b"\0asm";
/// First four bytes of WAMR's AOT files.
const AOT_MAGIC: &[u8] = b"\0aot";
/// Upper half of a component's version field, which for core modules is 0.
const COMPONENT_LAYER: &[u8] = &[1, 0];

/// A module that WAMR has checked and prepared to run. Any number of instances can be made of it; a fork
/// shares its memory.
#[derive(Debug)]
pub struct Module<'engine> {
    pub(crate) raw: sys::wasm_module_t,
    /// Dropped after the module. `None` if it lies in an image that was mapped.
    source: Option<ModuleSource>,
    _engine: PhantomData<&'engine Engine>,
}

/// The module's memory as it declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Size at the start, in pages of 64 KiB.
    pub initial_pages: u32,
    /// Most it can grow to, in pages of 64 KiB: what it declares, or its initial size if it has no
    /// instruction that grows memory, or 65536.
    pub max_pages: u32,
    /// Shared between guest threads.
    pub shared: bool,
}

impl<'engine> Module<'engine> {
    /// Loads a wasm module for the interpreter.
    ///
    /// # Errors
    /// [`Error::Aot`] for AOT code (it is native code: see [`Module::load_aot`]), [`Error::Component`],
    /// [`Error::NotWasm`], [`Error::Empty`], or [`Error::Load`] with WAMR's reason.
    pub fn load(engine: &'engine Engine, mut source: ModuleSource) -> Result<Module<'engine>> {
        match source.bytes() {
            [] => return Err(Error::Empty),
            bytes if bytes.starts_with(AOT_MAGIC) => return Err(Error::Aot),
            bytes if !bytes.starts_with(WASM_MAGIC) => return Err(Error::NotWasm),
            bytes if bytes.get(6..8) == Some(COMPONENT_LAYER) => return Err(Error::Component),
            _ => {}
        }
        Module::load_any(engine, source)
    }

    /// Loads the output of WAMR's AOT compiler. It is native code: give it nothing but what our own compiler wrote. It can
    /// be run once [`Module::allow_to_run`] was called.
    ///
    /// # Errors
    /// [`Error::NotAot`], [`Error::Empty`], or [`Error::Load`] with WAMR's reason, such as another version.
    pub fn load_aot(engine: &'engine Engine, mut source: ModuleSource) -> Result<Module<'engine>> {
        match source.bytes() {
            [] => return Err(Error::Empty),
            bytes if !bytes.starts_with(AOT_MAGIC) => return Err(Error::NotAot),
            _ => {}
        }
        Module::load_any(engine, source)
    }

    fn load_any(_engine: &'engine Engine, mut source: ModuleSource) -> Result<Module<'engine>> {
        let mut reason = ErrorBuffer::new();
        let bytes = source.bytes();
        let size = u32::try_from(bytes.len()).map_err(|_| Error::TooLarge(bytes.len() as u64))?;
        let start = bytes.as_mut_ptr();
        // SAFETY: WAMR is initialised (there is an engine); the bytes are writable, of this size, and are
        // kept beside the module until it is unloaded.
        let raw = unsafe { sys::wasm_runtime_load(start, size, reason.start(), reason.size()) };
        if raw.is_null() {
            return Err(Error::Load(reason.text()));
        }
        Ok(Module { raw, source: Some(source), _engine: PhantomData })
    }

    /// A module as it lies in an image that was mapped.
    pub(crate) fn from_image(raw: sys::wasm_module_t) -> Module<'engine> {
        Module { raw, source: None, _engine: PhantomData }
    }

    /// Where the module's file is mapped, and how many bytes it has.
    pub(crate) fn source_place(&self) -> Option<(u64, usize)> {
        self.source.as_ref()?.mapped_at()
    }

    /// Whether it came with an image.
    pub(crate) fn was_mapped(&self) -> bool {
        self.source.is_none()
    }

    /// Limits of the module's first memory, which is the only one WAMR supports here; `None` without one.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryLimits> {
        let mut limits = sys::glue_memory_limits { initial_bytes: 0, max_bytes: 0, shared: false };
        // SAFETY: the module is loaded; one valid pointer.
        unsafe { sys::glue_module_memory(self.raw, &mut limits) }.then(|| MemoryLimits {
            initial_pages: pages(limits.initial_bytes),
            max_pages: pages(limits.max_bytes),
            shared: limits.shared,
        })
    }

    /// Names of the exported functions, in the module's order.
    #[must_use]
    pub fn exported_functions(&self) -> Vec<String> {
        // SAFETY: the module is loaded.
        let count = unsafe { sys::wasm_runtime_get_export_count(self.raw) };
        (0..count)
            .filter_map(|index| {
                // SAFETY: the all-zero value is valid for these C structures, and the index is in range.
                let export = unsafe {
                    let mut export: sys::wasm_export_t = std::mem::zeroed();
                    sys::wasm_runtime_get_export_type(self.raw, index, &mut export);
                    export
                };
                let is_function = export.kind == sys::wasm_import_export_kind_t_WASM_IMPORT_EXPORT_KIND_FUNC;
                // SAFETY: WAMR's names end with NUL and live as long as the module.
                is_function.then(|| unsafe { text(export.name) })
            })
            .collect()
    }

    /// What the module imports and the runtime does not have, each as `module.field`. A function is
    /// unresolved too when the runtime has one of this name with another type.
    #[must_use]
    pub fn unresolved_imports(&self) -> Vec<String> {
        // SAFETY: the module is loaded.
        let count = unsafe { sys::wasm_runtime_get_import_count(self.raw) };
        (0..count)
            .filter_map(|index| {
                // SAFETY: as in `exported_functions`.
                let (import, module, field) = unsafe {
                    let mut import: sys::wasm_import_t = std::mem::zeroed();
                    sys::wasm_runtime_get_import_type(self.raw, index, &mut import);
                    (import, text(import.module_name), text(import.name))
                };
                // WAMR makes a new memory for whoever imports one from "env", as wasi-threads modules do.
                let provided = import.linked
                    || (import.kind == sys::wasm_import_export_kind_t_WASM_IMPORT_EXPORT_KIND_MEMORY
                        && module == "env");
                (!provided).then(|| format!("{module}.{field}"))
            })
            .collect()
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: loaded once; instances borrow the module, so none is left.
        unsafe { sys::wasm_runtime_unload(self.raw) };
    }
}

/// # Safety
/// `name` is null, or a string that ends with NUL.
pub(crate) unsafe fn text(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Whole pages of 64 KiB in `bytes`; a memory has 65536 at most.
pub(crate) fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE_SIZE)).unwrap_or(u32::MAX)
}

/// Where WAMR writes why it failed.
pub(crate) struct ErrorBuffer([c_char; 256]);

impl ErrorBuffer {
    pub(crate) fn new() -> ErrorBuffer {
        ErrorBuffer([0; 256])
    }

    pub(crate) fn start(&mut self) -> *mut c_char {
        self.0.as_mut_ptr()
    }

    pub(crate) fn size(&self) -> u32 {
        self.0.len() as u32
    }

    /// The reason without the prefixes by which WAMR says what failed; the caller knows.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
        let text = String::from_utf8_lossy(&bytes);
        let reason = ["WASM module load failed: ", "AOT module load failed: ", "Exception: "]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(&text)
            .trim();
        if reason.is_empty() { "WAMR gave no reason".to_owned() } else { reason.to_owned() }
    }
}
