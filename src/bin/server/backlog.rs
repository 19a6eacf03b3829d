//! A longer queue of connections that wait to be accepted.
//!
//! `TcpListener::bind` asks for a queue of 128. Clients that connect at once
//! beyond it wait a second or more, until they repeat their SYN. Calling
//! `listen` again on the bound socket lengthens the queue, and std has no such
//! call, hence a foreign function.

use std::io;
use std::net::TcpListener;

/// What Linux allows unless told otherwise (`net.core.somaxconn`). Where the
/// system allows less, it takes its own limit.
const BACKLOG: i32 = 4096;

#[cfg(unix)]
pub(crate) fn raise(listener: &TcpListener) -> io::Result<()> {
    use std::ffi::c_int;
    use std::os::fd::AsRawFd;

    // `listen` takes two numbers and touches no memory of ours, so any call of
    // it is safe.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn listen(fd: c_int, backlog: c_int) -> c_int;
    }
    match listen(listener.as_raw_fd(), BACKLOG) {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(unix))]
pub(crate) fn raise(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
