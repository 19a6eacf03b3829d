//! What no other test uses, of this run or of another one on this machine.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use super::eventually;

/// The first number that no other run of these tests has, from now on and for as
/// long as this one lasts.
#[cfg(target_os = "linux")]
fn claim(what: &str, mut numbers: Range<u32>) -> u32 {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{self, UnixListener};

    // Such a name is the system's to give, once; it is free when its owner ends.
    let claimed = |number: &u32| {
        let name = format!("tests of tcp-chat: {what} {number}");
        let name = net::SocketAddr::from_abstract_name(name).unwrap();
        UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
    };
    numbers.find(claimed).unwrap()
}

/// One that another run hardly has.
#[cfg(not(target_os = "linux"))]
fn claim(_: &str, numbers: Range<u32>) -> u32 {
    numbers.start + process::id() % (numbers.end - numbers.start)
}

/// A user whom no other test starts anything for.
pub fn own_user() -> u32 {
    claim("user", 54_321..60_000)
}

/// An address of this machine that no other test uses, not even for a client: a
/// port that is free there stays free. Where all but 127.0.0.1 are to be added
/// first, as on macOS, it is that one.
pub fn own_ip() -> IpAddr {
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

/// An address at which nothing listens.
pub fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind((own_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    await_refusal(address);
    address
}

/// Waits until connects are refused there: a program that another test is starting
/// has a copy of each socket for a moment.
pub fn await_refusal(address: SocketAddr) {
    eventually(|| match TcpStream::connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{address}: {other:?}")),
    });
}

/// A name that no other test uses.
pub fn own_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // A run that was killed may have left files of a process of the same number.
    let now = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{}-{now}-{number}", process::id())
}

/// A file of this test run's own.
pub fn temporary_file() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(own_name())
}
