//! A connection for each line, beside the barest loop that does the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use crate::ROUNDS;
use crate::beside_nc::time;
use crate::measure::median;
use crate::util::{Server, acknowledgement, temporary_file};

const LINES: usize = 20_000;

pub fn a_connection_for_each_line(name: &str) {
    let server = Server::start(&["-q"]);
    let input = temporary_file();
    fs::write(&input, "hello\n".repeat(LINES)).unwrap();
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        (0..LINES).for_each(|_| ask_once(server.address));
        let bare = begun.elapsed().as_secs_f64();
        let mut client = server.client(&["--reconnect-every", "1"]);
        let ours = time(&mut client, &input, Path::new("/dev/null"));
        let (ours, _) = ours.expect("the client did not end with exit code 0");
        rates.push(LINES as f64 / ours);
        ratios.push(bare / ours);
    }
    let [rate, ratio] = [rates, ratios].map(|values| median(values.into_iter()));
    println!("{name}: {rate:.0} lines/s, {ratio:.2} times those of the loop");
    let _ = fs::remove_file(input);
}

/// Connects, asks, reads and closes, without the time limits that tests have.
fn ask_once(server: SocketAddr) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let expected = acknowledgement("hello");
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply == expected.as_bytes(), "a wrong reply");
}
