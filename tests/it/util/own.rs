//! Files and addresses that no other test uses.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file of this test run's own.
pub fn temporary_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An address of this machine that no other test uses, not even for a client: a
/// port that is free there stays free.
pub fn own_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, _, first, second] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (third, fourth) = ((number / 254) as u8, (number % 254) as u8);
    IpAddr::from([127, 1 + first % 200, second ^ third, 1 + fourth])
}

/// An address at which nothing listens.
pub fn unused_address() -> SocketAddr {
    TcpListener::bind((own_ip(), 0))
        .unwrap()
        .local_addr()
        .unwrap()
}
