//! Addresses, names, files and users that no other test uses, in this run of the tests or
//! in another one on this machine.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use super::eventually;

/// Returns the first number that no other run of these tests holds, and holds it for as
/// long as this run lasts.
#[cfg(target_os = "linux")]
fn claim(what: &str, mut numbers: Range<u32>) -> u32 {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{self, UnixListener};

    // The system gives such a name to one process only, and frees it when that ends.
    let claimed = |number: &u32| {
        let name = format!("tests of tcp-chat: {what} {number}");
        let name = net::SocketAddr::from_abstract_name(name).unwrap();
        UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
    };
    numbers.find(claimed).unwrap()
}

/// Returns a number that another run is unlikely to have.
#[cfg(not(target_os = "linux"))]
fn claim(_: &str, numbers: Range<u32>) -> u32 {
    numbers.start + process::id() % (numbers.end - numbers.start)
}

/// Returns a user whose processes no other test starts.
pub fn unique_user() -> u32 {
    claim("user", 54_321..60_000)
}

/// Returns an address of this machine that no other test uses, not even for a client: a
/// port that is free there stays free. On systems where all addresses but 127.0.0.1
/// have to be added first, as on macOS, it is that one.
pub fn unique_ip() -> IpAddr {
    if !cfg!(any(target_os = "linux", windows)) {
        return IpAddr::from([127, 0, 0, 1]);
    }
    static NETWORK: OnceLock<u32> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let network = *NETWORK.get_or_init(|| claim("network", 1..255));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (third, fourth) = ((number / 254) as u8, (number % 254) as u8);
    IpAddr::from([127, network as u8, third, 1 + fourth])
}

/// Returns an address at which nothing listens.
pub fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    await_refusal(address);
    address
}

/// Waits until connects to this address are refused: a program that another test is
/// starting has a copy of each socket for a moment. Returns the error of the connect.
pub fn await_refusal(address: SocketAddr) -> io::Error {
    eventually(|| match TcpStream::connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(error),
        other => Err(format!("{address}: {other:?}")),
    })
}

/// Returns a name that no other test uses.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // A run that was killed may have left files of a process of the same number.
    let now = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{}-{now}-{number}", process::id())
}

/// Returns the path of a file that no other test uses; it does not exist yet.
pub fn temporary_file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique_name())
}
