//! ELF objects for x86-64, read and written as far as `merge.rs` needs it (System V ABI, AMD64 supplement).

/// Why it cannot be read or written.
pub type Result<T> = std::result::Result<T, String>;

/// `sh_type` and `sh_flags`.
pub const SHT_PROGBITS: u32 = 1;
pub const SHT_SYMTAB: u32 = 2;
pub const SHT_STRTAB: u32 = 3;
pub const SHT_RELA: u32 = 4;
pub const SHF_ALLOC: u64 = 2;
pub const SHF_INFO_LINK: u64 = 0x40;
/// Special section numbers.
pub const SHN_UNDEF: u16 = 0;
pub const SHN_LORESERVE: u16 = 0xff00;
/// `st_info`: binding in the upper half, type in the lower.
pub const STT_SECTION: u8 = 3;
pub const STB_GLOBAL: u8 = 1;
/// Relocations that hold a distance, which does not change when all of it is moved.
pub const R_X86_64_PC32: u32 = 2;
pub const R_X86_64_PLT32: u32 = 4;

const HEADER: usize = 64;
const SECTION: usize = 64;
pub const SYMBOL: usize = 24;
pub const RELA: usize = 24;

/// Bytes that are read by offset; never beyond their end.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn range(self, at: u64, size: u64) -> Result<Bytes<'a>> {
        let (at, size) =
            (usize::try_from(at).unwrap_or(usize::MAX), usize::try_from(size).unwrap_or(usize::MAX));
        self.0.get(at..at.saturating_add(size)).map(Bytes).ok_or_else(|| "an object is cut short".to_owned())
    }

    pub fn array<const N: usize>(self, at: usize) -> Result<[u8; N]> {
        let found = self.0.get(at..at.saturating_add(N)).and_then(|bytes| bytes.try_into().ok());
        found.ok_or_else(|| "an object is cut short".to_owned())
    }

    pub fn u16(self, at: usize) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub fn u32(self, at: usize) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub fn u64(self, at: usize) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub fn text(self, at: u32) -> Result<&'a str> {
        let bytes = self.0.get(at as usize..).unwrap_or_default();
        let length = bytes.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
        std::str::from_utf8(bytes.get(..length).unwrap_or_default())
            .map_err(|_| "a name is no text".to_owned())
    }
}

/// A section of an input.
pub struct Section<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub flags: u64,
    pub bytes: Bytes<'a>,
    pub link: u32,
    pub info: u32,
    pub align: u64,
    pub entry: u64,
}

pub fn sections(object: Bytes<'_>) -> Result<Vec<Section<'_>>> {
    const WANTED: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    const RELOCATABLE: u16 = 1;
    const X86_64: u16 = 62;
    if object.array::<6>(0)? != WANTED || object.u16(16)? != RELOCATABLE || object.u16(18)? != X86_64 {
        return Err("it is no relocatable object for x86-64".to_owned());
    }
    let (start, count, names) = (object.u64(40)?, object.u16(60)?, object.u16(62)?);
    let header = |number: u16| object.range(start + u64::from(number) * SECTION as u64, SECTION as u64);
    let contents = |header: Bytes<'_>| object.range(header.u64(24)?, header.u64(32)?);
    let names = contents(header(names)?)?;
    let section = |number: u16| {
        let header = header(number)?;
        let kind = header.u32(4)?;
        Ok(Section {
            name: names.text(header.u32(0)?)?,
            kind,
            flags: header.u64(8)?,
            // Other kinds may have no bytes in the file.
            bytes: match kind {
                SHT_PROGBITS | SHT_SYMTAB | SHT_STRTAB | SHT_RELA => contents(header)?,
                _ => Bytes(&[]),
            },
            link: header.u32(40)?,
            info: header.u32(44)?,
            align: header.u64(48)?.max(1),
            entry: header.u64(56)?,
        })
    };
    (0..count).map(section).collect()
}

pub fn symbol(name: u32, info: u8, section: u16, value: u64) -> Vec<u8> {
    let mut record = name.to_le_bytes().to_vec();
    record.extend([info, 0]);
    record.extend(section.to_le_bytes());
    record.extend(value.to_le_bytes());
    record.extend(0u64.to_le_bytes());
    record
}

/// A string table. It begins with an empty one.
pub struct Strings(pub Vec<u8>);

impl Default for Strings {
    fn default() -> Strings {
        Strings(vec![0])
    }
}

impl Strings {
    pub fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(text.as_bytes());
        self.0.push(0);
        at
    }
}

#[derive(Default, Clone, Copy)]
pub struct Header {
    pub kind: u32,
    pub flags: u64,
    pub link: u32,
    pub info: u32,
    pub align: u64,
    pub entry: u64,
}

pub struct Output {
    pub bytes: Vec<u8>,
    pub headers: Vec<u8>,
    pub names: Strings,
}

impl Output {
    /// Without sections but the first, which is none.
    pub fn new() -> Output {
        Output { bytes: vec![0; HEADER], headers: vec![0; SECTION], names: Strings::default() }
    }

    pub fn section(&mut self, name: &str, bytes: &[u8], header: Header) {
        self.bytes.resize(self.bytes.len().next_multiple_of(header.align.max(1) as usize), 0);
        let name = self.names.add(name);
        self.headers.extend(name.to_le_bytes());
        self.headers.extend(header.kind.to_le_bytes());
        for number in [header.flags, 0, self.bytes.len() as u64, bytes.len() as u64] {
            self.headers.extend(number.to_le_bytes());
        }
        self.headers.extend(header.link.to_le_bytes());
        self.headers.extend(header.info.to_le_bytes());
        self.headers.extend(header.align.to_le_bytes());
        self.headers.extend(header.entry.to_le_bytes());
        self.bytes.extend(bytes);
    }

    pub fn finish(mut self) -> Result<Vec<u8>> {
        let own_name = self.names.add(".shstrtab");
        let names = std::mem::take(&mut self.names.0);
        self.section("", &names, Header { kind: SHT_STRTAB, align: 1, ..Header::default() });
        let count = self.headers.len() / SECTION;
        let last = self.headers.len() - SECTION;
        // Its name was added before the table was taken.
        if let Some(name) = self.headers.get_mut(last..last + 4) {
            name.copy_from_slice(&own_name.to_le_bytes());
        }
        let start = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(start, 0);
        self.bytes.extend(&self.headers);
        let count = u16::try_from(count).map_err(|_| "there are too many sections")?;
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // Relocatable, x86-64, version 1; no entry, no program headers.
        header.extend([1u16, 62].iter().flat_map(|number| number.to_le_bytes()));
        header.extend(1u32.to_le_bytes());
        header.extend([0u64, 0, start as u64].iter().flat_map(|number| number.to_le_bytes()));
        header.extend(0u32.to_le_bytes());
        header.extend(
            [HEADER as u16, 0, 0, SECTION as u16, count, count - 1].iter().flat_map(|n| n.to_le_bytes()),
        );
        if let Some(place) = self.bytes.get_mut(..HEADER) {
            place.copy_from_slice(&header);
        }
        Ok(self.bytes)
    }
}
