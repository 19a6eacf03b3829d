//! A listening socket that the program that started the server has opened.
//!
//! It outlives the server: while the server is replaced by another one, clients
//! wait in the socket's queue, and none is refused. systemd gives it as standard
//! input (`StandardInput=socket`), as inetd did (`wait`).

use std::io;
use std::net::TcpListener;

/// The socket at standard input. Whether it is one that listens shows in the
/// first `accept`.
///
/// # Errors
///
/// Standard input is no IP socket.
#[cfg(unix)]
pub(crate) fn listener() -> io::Result<TcpListener> {
    use std::os::fd::AsFd;

    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    // The flag is the socket's, so another process that shares it may have set it.
    listener.set_nonblocking(false)?;
    Ok(listener)
}

/// # Errors
///
/// Always: no other system has such sockets.
#[cfg(not(unix))]
pub(crate) fn listener() -> io::Result<TcpListener> {
    Err(io::ErrorKind::Unsupported.into())
}
