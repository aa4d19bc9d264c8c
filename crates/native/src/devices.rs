//! Device rules on cgroup v2, which has no files for them: a program in the kernel that is asked before a device node
//! is made or opened (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! It lives as long as the cgroup's directory. Programs of others on the same cgroup, systemd's say, have to allow as well.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::{Error, Result};

/// `struct bpf_insn` of `linux/bpf.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Operation codes of `linux/bpf.h` and `linux/bpf_common.h`.
mod code {
    pub const LOAD_WORD: u8 = 0x61;
    pub const MOVE: u8 = 0xb7;
    pub const MOVE_REGISTER: u8 = 0xbf;
    pub const AND_32: u8 = 0x54;
    pub const SHIFT_RIGHT_32: u8 = 0x74;
    pub const JUMP_EQUAL: u8 = 0x15;
    pub const JUMP_UNEQUAL: u8 = 0x55;
    pub const EXIT: u8 = 0x95;
}

/// `BPF_DEVCG_*` of `linux/bpf.h`.
mod device {
    pub const MKNOD: i32 = 1;
    pub const READ: i32 = 2;
    pub const WRITE: i32 = 4;
    pub const BLOCK: i32 = 1;
    pub const CHARACTER: i32 = 2;
}

/// Registers: 0 is the answer, 1 the context, and what the context holds.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// What every container may do, whatever its rules say, as with other runtimes: make nodes, and use those that are
/// in every `/dev`. (type, major, minor, access).
const DEFAULT: [(i32, Option<i64>, Option<i64>, i32); 11] = [
    (device::CHARACTER, None, None, device::MKNOD),
    (device::BLOCK, None, None, device::MKNOD),
    (device::CHARACTER, Some(1), Some(3), ALL),
    (device::CHARACTER, Some(1), Some(5), ALL),
    (device::CHARACTER, Some(1), Some(7), ALL),
    (device::CHARACTER, Some(1), Some(8), ALL),
    (device::CHARACTER, Some(1), Some(9), ALL),
    (device::CHARACTER, Some(5), Some(0), ALL),
    (device::CHARACTER, Some(5), Some(1), ALL),
    (device::CHARACTER, Some(5), Some(2), ALL),
    (device::CHARACTER, Some(136), None, ALL),
];

const ALL: i32 = device::MKNOD | device::READ | device::WRITE;

/// One rule in the kernel's numbers.
#[derive(Debug, Clone, Copy)]
struct Rule {
    allow: bool,
    /// `None` for both.
    kind: Option<i32>,
    major: Option<i64>,
    minor: Option<i64>,
    access: i32,
}

/// Attaches the rules of `linux.resources.devices` to a cgroup, given by its directory. Without rules, every device is
/// allowed.
///
/// # Errors
/// [`Error::Helper`] when the kernel refuses the program.
pub fn attach_device_rules(cgroup: BorrowedFd<'_>, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let program = load(&assemble(&translate(rules))).map_err(Error::helper("load the device rules"))?;
    // SAFETY: all zeroes is a valid `bpf_attr`.
    let mut attributes: Attributes = unsafe { std::mem::zeroed() };
    attributes.attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `attributes`, which outlives the call.
    unsafe { bpf(PROG_ATTACH, &attributes) }.map(drop).map_err(Error::helper("attach the device rules"))
}

fn translate(rules: &[LinuxDeviceCgroup]) -> Vec<Rule> {
    let given = rules.iter().map(|rule| Rule {
        allow: rule.allow(),
        kind: match rule.typ() {
            Some(LinuxDeviceType::B) => Some(device::BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(device::CHARACTER),
            _ => None,
        },
        // A negative number means any, as a missing one does.
        major: rule.major().filter(|number| *number >= 0),
        minor: rule.minor().filter(|number| *number >= 0),
        access: rule.access().as_deref().filter(|access| !access.is_empty()).map_or(ALL, |access| {
            let bit = |letter: char, bit: i32| if access.contains(letter) { bit } else { 0 };
            bit('m', device::MKNOD) | bit('r', device::READ) | bit('w', device::WRITE)
        }),
    });
    let default = DEFAULT.iter().filter(|_| !rules.is_empty()).map(|(kind, major, minor, access)| Rule {
        allow: true,
        kind: Some(*kind),
        major: *major,
        minor: *minor,
        access: *access,
    });
    given.chain(default).collect()
}

/// The last rule that covers all of what is asked for decides, as with v1's files; without one, everything is allowed.
///
/// v1 has a subtlety that this does not: there, a rule may take some accesses from an earlier one. A request for
/// reading and writing is then refused if either half is. So a deny rule applies to a request that asks for *any* of its
/// accesses, and an allow rule to one that asks for *no other* than its own.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let load = |register, offset| instruction(code::LOAD_WORD, register, CONTEXT, offset, 0);
    // `struct bpf_cgroup_dev_ctx`: access in the upper half of the first word and type in the lower, major, minor.
    let mut program = vec![
        load(KIND, 0),
        instruction(code::MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(code::SHIFT_RIGHT_32, ACCESS, 0, 0, 16),
        instruction(code::AND_32, KIND, 0, 0, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        let block = block(rule);
        let always = block.len() == answer(rule.allow).len();
        program.extend(block);
        if always {
            // The kernel takes no program with instructions that nothing leads to.
            return program;
        }
    }
    program.extend(answer(true));
    program
}

fn block(rule: &Rule) -> Vec<Instruction> {
    let mut block = Vec::new();
    let numbers = [(KIND, rule.kind.map(i64::from)), (MAJOR, rule.major), (MINOR, rule.minor)];
    for (register, number) in numbers {
        if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
            block.push(instruction(code::JUMP_UNEQUAL, register, 0, 0, number));
        }
    }
    if rule.access != ALL {
        let mask = if rule.allow { ALL & !rule.access } else { rule.access };
        block.push(instruction(code::MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        block.push(instruction(code::AND_32, SCRATCH, 0, 0, mask));
        if rule.allow {
            block.push(instruction(code::JUMP_UNEQUAL, SCRATCH, 0, 0, 0));
        } else {
            // None of its accesses asked for: not about this rule.
            block.push(instruction(code::JUMP_EQUAL, SCRATCH, 0, 0, 0));
        }
    }
    block.extend(answer(rule.allow));
    let length = block.len();
    for (place, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, code::JUMP_UNEQUAL | code::JUMP_EQUAL) {
            instruction.offset = (length - place - 1) as i16;
        }
    }
    block
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(code::MOVE, ANSWER, 0, 0, allow.into()), instruction(code::EXIT, 0, 0, 0, 0)]
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// Numbers of `linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// The parts of `union bpf_attr` that are used, padded to what kernels since 4.15 take.
#[repr(C)]
union Attributes {
    load: Load,
    attach: Attach,
    whole: [u64; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is a valid `bpf_attr`.
    let mut attributes: Attributes = unsafe { std::mem::zeroed() };
    attributes.load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        licence: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the kernel reads the attributes, the program and the licence, all of which outlive the call.
    let fd = unsafe { bpf(PROG_LOAD, &attributes) }?;
    // SAFETY: a new descriptor (close-on-exec) that nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// # Safety
/// What `attributes` points to is valid for the command.
unsafe fn bpf(command: libc::c_long, attributes: &Attributes) -> io::Result<libc::c_long> {
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: the caller vouches for the content; the size is that of the union.
    match unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<Attributes>()) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Runs the program as the kernel would.
    fn ask(rules: &Value, kind: i32, major: u32, minor: u32, access: i32) -> bool {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules.clone()).unwrap();
        let program = assemble(&translate(&rules));
        let context = [(access << 16 | kind) as u32, major, minor];
        let (mut registers, mut place) = ([0u64; 11], 0usize);
        loop {
            let Instruction { code, registers: packed, offset, immediate } = program[place];
            let (destination, source) = ((packed & 15) as usize, (packed >> 4) as usize);
            place += 1;
            let value = registers[destination];
            let jump = (offset, immediate as u64);
            match code {
                code::LOAD_WORD => registers[destination] = context[offset as usize / 4].into(),
                code::MOVE => registers[destination] = immediate as u64,
                code::MOVE_REGISTER => registers[destination] = registers[source],
                code::AND_32 => registers[destination] = value & u64::from(immediate as u32),
                code::SHIFT_RIGHT_32 => registers[destination] = u64::from(value as u32 >> immediate),
                code::JUMP_UNEQUAL if value != jump.1 => place += jump.0 as usize,
                code::JUMP_EQUAL if value == jump.1 => place += jump.0 as usize,
                code::JUMP_UNEQUAL | code::JUMP_EQUAL => {}
                code::EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides_and_the_usual_nodes_stay_usable() {
        use device::{BLOCK, CHARACTER, MKNOD, READ, WRITE};
        let none = json!([{ "allow": false, "access": "rwm" }]);
        assert!(!ask(&none, BLOCK, 8, 0, READ), "a disk");
        assert!(!ask(&none, CHARACTER, 1, 11, READ), "kmsg");
        assert!(ask(&none, CHARACTER, 1, 3, READ | WRITE), "null");
        assert!(ask(&none, CHARACTER, 136, 7, READ | WRITE), "a terminal");
        assert!(ask(&none, BLOCK, 8, 0, MKNOD), "making a node opens nothing");
        assert!(!ask(&none, BLOCK, 8, 0, MKNOD | READ));
        let fuse = json!([{ "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" }]);
        assert!(ask(&fuse, CHARACTER, 10, 229, READ));
        assert!(!ask(&fuse, CHARACTER, 10, 229, READ | WRITE));
        assert!(!ask(&fuse, CHARACTER, 10, 228, READ));
        let read_only =
            json!([{ "allow": true, "type": "a" }, { "allow": false, "type": "b", "access": "w" }]);
        assert!(ask(&read_only, BLOCK, 8, 0, READ));
        assert!(!ask(&read_only, BLOCK, 8, 0, READ | WRITE));
        assert!(ask(&read_only, CHARACTER, 10, 229, WRITE));
        assert!(ask(&json!([]), BLOCK, 8, 0, READ | WRITE), "without rules");
    }

    #[test]
    fn the_kernel_takes_the_program() {
        let rules = json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "access": "rw" }]);
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        load(&assemble(&translate(&rules))).unwrap();
        load(&assemble(&translate(&[]))).unwrap();
    }
}
