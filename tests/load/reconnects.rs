//! The speed of `--reconnect-every 1`, compared with the barest loop that does the same.

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
    let mut rates = Vec::new();
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..LINES {
            ask_once(server.address);
        }
        let bare = begun.elapsed().as_secs_f64();
        let mut client = server.client(&["--reconnect-every", "1"]);
        let ours = time(&mut client, &input, Path::new("/dev/null"));
        let ours = ours
            .expect("the client did not end with exit code 0")
            .seconds;
        rates.push(LINES as f64 / ours);
        ratios.push(bare / ours);
    }
    let [rate, ratio] = [rates, ratios].map(|values| median(values.into_iter()));
    println!("{name}: {rate:.0} lines/s, {ratio:.2} times those of the loop");
    let _ = fs::remove_file(input);
}

/// Connects, sends a line, reads the reply and closes, without the time limits of tests.
fn ask_once(server: SocketAddr) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let expected = acknowledgement("hello");
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply == expected.as_bytes(), "a wrong reply");
}
