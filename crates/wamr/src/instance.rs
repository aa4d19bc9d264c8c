//! An instance: a module's memory, globals and tables, ready to run.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use wamr_sys as sys;

use crate::module::{ErrorBuffer, pages};
use crate::{Error, Module, PAGE_SIZE, Result};

/// What instantiation bakes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Bytes of the interpreter's stack, for each guest thread. AOT code runs on the native stack instead.
    /// The depth of the guest's calls is limited by it; memory is used only as deep as the guest went.
    pub stack_size: u32,
    /// As [`Instance::set_max_memory_pages`].
    pub max_memory_pages: Option<u32>,
}

/// An instance of a module. It may be made in a template; a fork shares its memory until it is written to.
#[derive(Debug)]
pub struct Instance<'module> {
    pub(crate) raw: sys::wasm_module_inst_t,
    /// The main thread's; owned by the instance.
    pub(crate) exec_env: sys::wasm_exec_env_t,
    /// Whether the start function, and `_initialize` if due, have run.
    pub(crate) initialised: bool,
    /// The descriptors that WASI's stdio uses.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) module: &'module Module<'module>,
}

impl<'module> Instance<'module> {
    /// Instantiates: lays out memory, copies data segments. Runs no guest code: start functions run in
    /// [`Instance::run`], so a template can be made of any module. Until [`Instance::set_wasi`] the guest
    /// has no arguments, environment or directories, and this process's stdio.
    ///
    /// # Errors
    /// [`Error::UnknownImports`], [`Error::MemoryLimit`], or [`Error::Instantiate`] with WAMR's reason.
    pub fn new(module: &'module Module<'module>, options: InstanceOptions) -> Result<Instance<'module>> {
        let unresolved = module.unresolved_imports();
        if !unresolved.is_empty() {
            return Err(Error::UnknownImports(unresolved));
        }
        // Before the memory is mapped, of which there may be too little for what the module asks.
        if let (Some(limit), Some(memory)) = (options.max_memory_pages, module.memory())
            && limit < memory.initial_pages
        {
            return Err(Error::MemoryLimit { limit, present: memory.initial_pages });
        }
        let mut reason = ErrorBuffer::new();
        // SAFETY: the module is loaded, and outlives the instance.
        let raw =
            unsafe { sys::glue_instantiate(module.raw, options.stack_size, reason.start(), reason.size()) };
        if raw.is_null() {
            return Err(Error::Instantiate(reason.text()));
        }
        // SAFETY: the instance was just made.
        let exec_env = unsafe { sys::glue_exec_env(raw) };
        let mut instance = Instance { raw, exec_env, initialised: false, stdio: None, module };
        if exec_env.is_null() {
            return Err(Error::Instantiate(format!("no memory for a stack of {} bytes", options.stack_size)));
        }
        if let Some(limit) = options.max_memory_pages {
            instance.set_max_memory_pages(limit)?;
        }
        Ok(instance)
    }

    /// Present size of the linear memory, in pages of 64 KiB.
    #[must_use]
    pub fn memory_pages(&self) -> u32 {
        // SAFETY: the instance exists.
        pages(unsafe { sys::glue_memory_bytes(self.raw) })
    }

    /// Limits linear memory to `limit` pages of 64 KiB, or to the module's own maximum where that is less:
    /// beyond it `memory.grow` returns -1 to the guest. May be called again, to raise or lower the limit.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`] when the memory is larger already.
    pub fn set_max_memory_pages(&mut self, limit: u32) -> Result<()> {
        let present = self.memory_pages();
        if limit < present {
            return Err(Error::MemoryLimit { limit, present });
        }
        // SAFETY: the instance exists; the limit is not below its present size.
        unsafe { sys::glue_cap_memory(self.raw, u64::from(limit) * PAGE_SIZE) };
        Ok(())
    }

    /// Where [`Instance::set_max_memory_pages`] writes, for another process that may write to this one's memory
    /// while the guest runs. `None` without a memory.
    pub fn memory_cap(&self) -> Option<MemoryCap> {
        let mut place = sys::glue_memory_cap_place { address: 0, bytes_per_page: 0, most_pages: 0 };
        // SAFETY: the instance exists; one valid pointer.
        unsafe { sys::glue_memory_cap(self.raw, &mut place) }.then_some(MemoryCap {
            address: place.address,
            bytes_per_page: place.bytes_per_page,
            most_pages: place.most_pages,
        })
    }

    /// The exported function of this name.
    pub(crate) fn function(&self, name: &str) -> Option<sys::wasm_function_inst_t> {
        let name = CString::new(name).ok()?;
        // SAFETY: the instance exists; the name ends with NUL.
        let function = unsafe { sys::wasm_runtime_lookup_function(self.raw, name.as_ptr()) };
        (!function.is_null()).then_some(function)
    }
}

/// The place of an instance's cap on its linear memory, in the address space of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCap {
    /// Address of the 32-bit number of pages.
    pub address: u64,
    /// Bytes of one such page; 64 KiB, or all of a memory that cannot grow.
    pub bytes_per_page: u64,
    /// Most pages the module itself allows.
    pub most_pages: u64,
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        let threads = self.module.memory().is_some_and(|memory| memory.shared);
        // SAFETY: instantiated once. WAMR waits here for the guest's other threads, which use the module
        // and the instance; the exception makes them end.
        unsafe {
            if threads && !self.exec_env.is_null() {
                sys::wasm_runtime_set_exception(self.raw, c"instance dropped".as_ptr());
            }
            sys::wasm_runtime_deinstantiate(self.raw);
        }
    }
}
