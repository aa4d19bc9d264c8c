//! Several ELF objects, each with some functions of one module, become one.
//!
//! WAMR writes an AOT file of one object. So this puts sections of one name together, and points every relocation at
//! where things are then. Calls between functions need none any more, which also spares WAMR's loader most of its work:
//! an object as LLVM makes it has one for each of them.
//!
//! Objects for x86-64, as LLVM writes them (System V ABI, AMD64 supplement, 4.4); anything else is refused in words.

use std::collections::HashMap;

use crate::elf::{
    Bytes, Header, Output, R_X86_64_PC32, R_X86_64_PLT32, RELA, Result, SHF_ALLOC, SHF_INFO_LINK,
    SHN_LORESERVE, SHN_UNDEF, SHT_PROGBITS, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, STB_GLOBAL, STT_SECTION,
    SYMBOL, Section, Strings, sections, symbol,
};

const TEXT: &str = ".text";

/// A section of the output.
#[derive(Default)]
struct Merged {
    name: String,
    flags: u64,
    entry: u64,
    align: u64,
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
}

struct Relocation {
    offset: u64,
    kind: u32,
    target: Target,
    addend: i64,
}

/// What a relocation points at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    /// An offset within a section of the output.
    Place(usize, u64),
    /// A symbol that no input defines, or not yet.
    Named(String),
}

#[derive(Default)]
struct Merger {
    sections: Vec<Merged>,
    /// Symbols that other inputs may name: section and offset.
    defined: HashMap<String, (usize, u64)>,
}

/// Merges them; the functions of the first come first.
///
/// # Errors
/// In words: what is not as LLVM writes it.
pub fn merge<'a>(objects: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>> {
    let mut merger = Merger::default();
    for object in objects {
        merger.add(Bytes(object))?;
    }
    merger.resolve()?;
    merger.write()
}

/// Whether it goes into the output: what a module is run from.
fn is_kept(section: &Section<'_>) -> bool {
    section.kind == SHT_PROGBITS && section.flags & SHF_ALLOC != 0 && section.name != ".eh_frame"
}

impl Merger {
    fn add(&mut self, object: Bytes<'_>) -> Result<()> {
        let sections = sections(object)?;
        // Where each of them is in the output.
        let mut places: Vec<Option<(usize, u64)>> = Vec::with_capacity(sections.len());
        for section in &sections {
            places.push(if is_kept(section) { Some(self.append(section)?) } else { None });
        }
        let Some(table) = sections.iter().find(|section| section.kind == SHT_SYMTAB) else { return Ok(()) };
        let names = sections.get(table.link as usize).ok_or("the symbols have no names")?.bytes;
        let symbols = self.symbols(table.bytes, names, &places)?;
        for relocations in sections.iter().filter(|section| section.kind == SHT_RELA) {
            let Some(&Some((section, base))) = places.get(relocations.info as usize) else { continue };
            for record in relocations.bytes.0.chunks_exact(RELA).map(Bytes) {
                let (offset, info) = (record.u64(0)?, record.u64(8)?);
                let target = symbols.get((info >> 32) as usize).cloned().flatten();
                let target =
                    target.ok_or_else(|| format!("a relocation in {} leads nowhere", relocations.name))?;
                let relocation = Relocation {
                    offset: base + offset,
                    kind: info as u32,
                    target,
                    addend: record.u64(16)?.cast_signed(),
                };
                if let Some(merged) = self.sections.get_mut(section) {
                    merged.relocations.push(relocation);
                }
            }
        }
        Ok(())
    }

    /// Puts the bytes behind those that are there, and says where.
    fn append(&mut self, section: &Section<'_>) -> Result<(usize, u64)> {
        let number = match self.sections.iter().position(|merged| merged.name == section.name) {
            Some(number) => number,
            None => {
                let (flags, entry) = (section.flags, section.entry);
                self.sections.push(Merged {
                    name: section.name.to_owned(),
                    flags,
                    entry,
                    ..Merged::default()
                });
                self.sections.len() - 1
            }
        };
        let merged = self.sections.get_mut(number).ok_or("a section was lost")?;
        if !section.align.is_power_of_two() || section.align > 4096 {
            return Err(format!("{} is aligned to {} bytes", section.name, section.align));
        }
        merged.align = merged.align.max(section.align);
        let start = merged.bytes.len().next_multiple_of(section.align as usize);
        // Never run: traps if it is.
        let filler = if section.name == TEXT { 0xcc } else { 0 };
        merged.bytes.resize(start, filler);
        merged.bytes.extend(section.bytes.0);
        Ok((number, start as u64))
    }

    /// What each symbol stands for; `None` for those of no use.
    fn symbols(
        &mut self,
        table: Bytes<'_>,
        names: Bytes<'_>,
        places: &[Option<(usize, u64)>],
    ) -> Result<Vec<Option<Target>>> {
        let mut targets = Vec::new();
        for symbol in table.0.chunks_exact(SYMBOL).map(Bytes) {
            let (name, info, home, value) =
                (names.text(symbol.u32(0)?)?, symbol.array::<1>(4)?, symbol.u16(6)?, symbol.u64(8)?);
            let is_local = info[0] >> 4 == 0;
            let place = places.get(usize::from(home)).copied().flatten();
            targets.push(match place {
                _ if home == SHN_UNDEF && name.is_empty() => None,
                _ if home == SHN_UNDEF => Some(Target::Named(name.to_owned())),
                Some((section, base)) if home < SHN_LORESERVE => {
                    if !is_local && self.defined.insert(name.to_owned(), (section, base + value)).is_some() {
                        return Err(format!("{name} is defined twice"));
                    }
                    Some(Target::Place(section, base + value))
                }
                // A file's name, or a place in a section that is not kept.
                _ => None,
            });
        }
        Ok(targets)
    }

    /// Finds out where names are defined, and does what can be done now: distances within a section.
    fn resolve(&mut self) -> Result<()> {
        for number in 0..self.sections.len() {
            let Some(section) = self.sections.get_mut(number) else { continue };
            let mut left = Vec::new();
            for mut relocation in std::mem::take(&mut section.relocations) {
                if let Target::Named(name) = &relocation.target
                    && let Some((section, offset)) = self.defined.get(name)
                {
                    relocation.target = Target::Place(*section, *offset);
                }
                match relocation.target {
                    Target::Place(section_of_target, offset)
                        if section_of_target == number
                            && matches!(relocation.kind, R_X86_64_PC32 | R_X86_64_PLT32) =>
                    {
                        let distance =
                            offset.cast_signed() + relocation.addend - relocation.offset.cast_signed();
                        let distance =
                            i32::try_from(distance).map_err(|_| "the code is larger than 2 GiB")?;
                        let at = relocation.offset as usize;
                        let field = section.bytes.get_mut(at..at.saturating_add(4));
                        field
                            .ok_or("a relocation lies beyond its section")?
                            .copy_from_slice(&distance.to_le_bytes());
                    }
                    _ => left.push(relocation),
                }
            }
            section.relocations = left;
        }
        Ok(())
    }

    /// One object of it all. Symbols: the sections, then what is defined, then what is not.
    fn write(&self) -> Result<Vec<u8>> {
        let mut strings = Strings::default();
        let mut symbols = vec![0; SYMBOL];
        for number in 1..=self.sections.len() {
            symbols.extend(symbol(0, STT_SECTION, number as u16, 0));
        }
        let locals = (symbols.len() / SYMBOL) as u32;
        let mut defined: Vec<_> = self.defined.iter().collect();
        defined.sort_unstable();
        for (name, (section, offset)) in defined {
            symbols.extend(symbol(strings.add(name), STB_GLOBAL << 4, *section as u16 + 1, *offset));
        }
        let mut undefined: HashMap<&str, u32> = HashMap::new();
        let mut relocations: Vec<Vec<u8>> = Vec::new();
        for section in &self.sections {
            let mut records = Vec::new();
            for relocation in &section.relocations {
                let (number, addend) = match &relocation.target {
                    Target::Place(section, offset) => {
                        (*section as u32 + 1, relocation.addend + offset.cast_signed())
                    }
                    Target::Named(name) => {
                        let number = *undefined.entry(name).or_insert_with(|| {
                            symbols.extend(symbol(strings.add(name), STB_GLOBAL << 4, SHN_UNDEF, 0));
                            (symbols.len() / SYMBOL - 1) as u32
                        });
                        (number, relocation.addend)
                    }
                };
                records.extend(relocation.offset.to_le_bytes());
                records.extend((u64::from(number) << 32 | u64::from(relocation.kind)).to_le_bytes());
                records.extend(addend.to_le_bytes());
            }
            relocations.push(records);
        }

        let mut output = Output::new();
        for section in &self.sections {
            let header = Header {
                kind: SHT_PROGBITS,
                flags: section.flags,
                entry: section.entry,
                ..Header::default()
            };
            output.section(&section.name, &section.bytes, Header { align: section.align, ..header });
        }
        let filled = relocations
            .iter()
            .zip(&self.sections)
            .enumerate()
            .filter(|(_, (records, _))| !records.is_empty());
        let tables = self.sections.len() as u32 + filled.clone().count() as u32 + 1;
        for (number, (records, section)) in filled {
            let header = Header {
                kind: SHT_RELA,
                flags: SHF_INFO_LINK,
                link: tables,
                info: number as u32 + 1,
                align: 8,
                entry: RELA as u64,
            };
            output.section(&format!(".rela{}", section.name), records, header);
        }
        let table = Header {
            kind: SHT_SYMTAB,
            link: tables + 1,
            info: locals,
            align: 8,
            entry: SYMBOL as u64,
            flags: 0,
        };
        output.section(".symtab", &symbols, table);
        let text = Header { kind: SHT_STRTAB, align: 1, ..Header::default() };
        output.section(".strtab", &strings.0, text);
        output.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOC_EXEC: u64 = SHF_ALLOC | 4;

    /// An object with code, constants and one relocation of the code: at an offset, by a kind, to a symbol.
    /// Symbols: 1 is the local of the constants' second half, 2 the function, 3 is defined elsewhere.
    fn object(
        code: &[u8],
        constants: &[u8],
        function: &str,
        elsewhere: &str,
        relocation: (u64, u32, u32),
    ) -> Vec<u8> {
        let mut strings = Strings::default();
        let mut symbols = vec![0; SYMBOL];
        symbols.extend(symbol(strings.add(".LCPI0_1"), 0, 2, 8));
        symbols.extend(symbol(strings.add(function), STB_GLOBAL << 4 | 2, 1, 4));
        symbols.extend(symbol(strings.add(elsewhere), STB_GLOBAL << 4, 0, 0));
        let (offset, kind, number) = relocation;
        let mut records = offset.to_le_bytes().to_vec();
        records.extend((u64::from(number) << 32 | u64::from(kind)).to_le_bytes());
        records.extend((-4i64).to_le_bytes());
        let mut output = Output::new();
        let header = Header { kind: SHT_PROGBITS, flags: ALLOC_EXEC, align: 16, ..Header::default() };
        output.section(TEXT, code, header);
        output.section(".rodata.cst8", constants, Header { flags: SHF_ALLOC, align: 8, entry: 8, ..header });
        let table = Header { kind: SHT_RELA, link: 4, info: 1, align: 8, entry: 24, flags: SHF_INFO_LINK };
        output.section(".rela.text", &records, table);
        let table = Header { kind: SHT_SYMTAB, link: 5, info: 2, align: 8, entry: 24, flags: 0 };
        output.section(".symtab", &symbols, table);
        output.section(".strtab", &strings.0, Header { kind: SHT_STRTAB, align: 1, ..Header::default() });
        output.finish().unwrap()
    }

    fn section<'a>(object: &'a [u8], name: &str) -> Option<Section<'a>> {
        sections(Bytes(object)).unwrap().into_iter().find(|section| section.name == name)
    }

    /// Offset, kind, symbol and addend of each relocation of the code.
    fn relocations(object: &[u8]) -> Vec<(u64, u32, u32, i64)> {
        let records = section(object, ".rela.text").map_or(&[][..], |section| section.bytes.0);
        let record = |record: &[u8]| {
            let record = Bytes(record);
            let info = record.u64(8).unwrap();
            let addend = record.u64(16).unwrap().cast_signed();
            (record.u64(0).unwrap(), info as u32, (info >> 32) as u32, addend)
        };
        records.chunks_exact(RELA).map(record).collect()
    }

    #[test]
    fn a_call_between_parts_is_settled_and_what_nobody_defines_stays() {
        let calls = object(&[0x90; 20], &[1; 16], "first", "second", (5, R_X86_64_PLT32, 3));
        let called = object(&[0xc3; 9], &[2; 16], "second", "outside", (1, R_X86_64_PLT32, 3));
        let merged = merge([&calls[..], &called[..]]).unwrap();
        let text = section(&merged, TEXT).unwrap();
        // 20 bytes, up to a multiple of 16, then the others.
        assert_eq!(text.bytes.0.len(), 32 + 9);
        assert_eq!(text.bytes.0[20..32], [0xcc; 12]);
        let distance = i32::from_le_bytes(text.bytes.0[5..9].try_into().unwrap());
        assert_eq!(distance, 32 + 4 - 4 - 5, "from the field to where `second` is now");
        let left = relocations(&merged);
        assert_eq!(left.len(), 1);
        let (offset, kind, number, addend) = left[0];
        assert_eq!((offset, kind, addend), (32 + 1, R_X86_64_PLT32, -4));
        let (symbols, names) = (section(&merged, ".symtab").unwrap(), section(&merged, ".strtab").unwrap());
        let name = |number: usize| names.bytes.text(symbols.bytes.u32(number * SYMBOL).unwrap()).unwrap();
        assert_eq!(name(number as usize), "outside");
        let global = (symbols.info as usize..symbols.bytes.0.len() / SYMBOL).map(name).collect::<Vec<_>>();
        assert_eq!(global, ["first", "second", "outside"]);
    }

    #[test]
    fn a_constant_is_found_where_it_lies_now() {
        let part = |name| object(&[0x90; 16], &[7; 16], name, "x", (2, R_X86_64_PC32, 1));
        let merged = merge([&part("a")[..], &part("b")[..]]).unwrap();
        assert_eq!(section(&merged, ".rodata.cst8").unwrap().bytes.0.len(), 32);
        // Of the second section, 8 bytes into each part's 16.
        assert_eq!(relocations(&merged), [(2, R_X86_64_PC32, 2, 8 - 4), (18, R_X86_64_PC32, 2, 16 + 8 - 4)]);
        assert_eq!(merge([&merged[..]]).unwrap(), merged, "merging once more changes nothing");
    }

    #[test]
    fn what_is_not_as_it_should_be_is_refused() {
        let good = object(&[0x90; 16], &[7; 16], "f", "g", (2, R_X86_64_PC32, 1));
        assert!(merge([&good[..], &good[..]]).unwrap_err().contains("twice"));
        for cut in 0..good.len() {
            assert!(merge([&good[..cut]]).is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            // Whatever it says, it does not panic.
            let _ = merge([&bad[..]]);
        }
    }
}
