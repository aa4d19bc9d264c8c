//! A second filter, for a guest whose pod's policy allows no address at all: it makes no socket and gives none an address.
//! Those it was given to serve on work. (What a policy with addresses allows, no filter can tell: it sees numbers, not the
//! memory where the address is.)

use crate::Error;
use crate::filter_program::{Program, install};

const CALLS: [libc::c_long; 4] = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];

/// Installs it on the calling thread, for good. To be done before [`Filter::install`](crate::Filter::install), which
/// allows no further filter; of several filters the strictest verdict counts.
///
/// # Errors
/// [`Error::Filter`] with the kernel's reason.
pub fn forbid_new_sockets() -> Result<(), Error> {
    let mut program = Program::new();
    // What is not listed is for the other filter to judge.
    let refuse = std::mem::replace(&mut program.refuse, program.allow);
    let mut program = program.finish(&CALLS.map(|call| (call, refuse)))?;
    install(&mut program)
}
