//! What WAMR's socket functions ask for: whether an address may be used, and which addresses a name has.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use network::{Error, Family, Names, Policy, Request, Use};
use wamr_sys as sys;

/// Of this process, which is one guest's. All of them have to allow an address.
static POLICIES: RwLock<Vec<Policy>> = RwLock::new(Vec::new());

/// From now on these policies hold, for all guests of this process.
pub(crate) fn set_policies(policies: Vec<Policy>) {
    *POLICIES.write().unwrap_or_else(PoisonError::into_inner) = policies;
    // SAFETY: two functions that any thread may call at any time.
    unsafe { sys::glue_sockets_set_network(Some(allowed), Some(resolve)) };
}

fn allows(wanted: Use, address: SocketAddr) -> bool {
    let policies = POLICIES.read().unwrap_or_else(PoisonError::into_inner);
    policies.iter().all(|policy| policy.allows(wanted, address))
}

extern "C" fn allowed(wanted: sys::glue_socket_use, address: *const u8, length: u32, port: u16) -> bool {
    let wanted = if wanted == sys::glue_socket_use_GLUE_SOCKET_BIND { Use::Bind } else { Use::Connect };
    // SAFETY: WAMR's side hands over as many bytes as it says.
    let bytes = unsafe { std::slice::from_raw_parts(address, length as usize) };
    let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    match address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)) {
        Ok(address) => allows(wanted, SocketAddr::new(address, port)),
        Err(_) => false,
    }
}

/// Looks a name up. Returns 0 or an errno.
extern "C" fn resolve(
    host: *const c_char,
    service: *const c_char,
    family: sys::glue_family,
    stopped: Option<unsafe extern "C" fn(*mut c_void) -> bool>,
    context: *mut c_void,
    found: *mut sys::glue_names,
) -> c_int {
    // SAFETY: copies on the caller's stack, which end with NUL.
    let (host, service) = unsafe { (CStr::from_ptr(host), CStr::from_ptr(service)) };
    let (Ok(host), Ok(service)) = (host.to_str(), service.to_str()) else { return 0 };
    let interrupted = Cell::new(false);
    let request = Request {
        host,
        family: match family {
            sys::glue_family_GLUE_FAMILY_V4 => Family::V4,
            sys::glue_family_GLUE_FAMILY_V6 => Family::V6,
            _ => Family::Any,
        },
        allowed: &|server| allows(Use::Connect, server),
        stopped: &|| {
            // SAFETY: the caller's own function with the caller's own argument.
            let now = stopped.is_some_and(|stopped| unsafe { stopped(context) });
            interrupted.set(now);
            now
        },
    };
    let names = Names::default();
    let [tcp, udp] = ["tcp", "udp"].map(|protocol| names.port(service, protocol));
    if let (Err(_), Err(_)) = (tcp, udp) {
        return libc::EINVAL;
    }
    let addresses = match names.resolve(&request) {
        Ok(addresses) => addresses,
        Err(Error::NotAName | Error::NoSuchService) => Vec::new(),
        Err(Error::Forbidden) => return libc::EACCES,
        Err(Error::TryAgain) => return libc::EAGAIN,
        Err(Error::Stopped) => return libc::EINTR,
    };
    // SAFETY: the caller's own structure, zeroed.
    let found = unsafe { &mut *found };
    found.tcp_port = tcp.map_or(-1, i32::from);
    found.udp_port = udp.map_or(-1, i32::from);
    for (place, address) in found.addresses.iter_mut().zip(addresses) {
        match address {
            IpAddr::V4(v4) => place.bytes[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => place.bytes = v6.octets(),
        }
        place.length = if address.is_ipv4() { 4 } else { 16 };
        found.count += 1;
    }
    0
}
