//! The client over a path that is cut after each possible byte, in either direction.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::util::{
    Server, accept, accept_unless, client, connect, exchange, peek, run_from, temporary_file,
    threads_allowed,
};

/// The first input has an empty line, one with CR LF and a character of two bytes, and a
/// last one without an LF. The second has a line that is rejected.
const INPUTS: [&[u8]; 2] = [b"one\n\ngr\xc3\xbcn\r\nbye", b"ab\xff\nbye"];

/// The direction that is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    There,
    Back,
}

/// How the client sees the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    EndOfFile,
    Reset,
}

/// A run of the client, whose first connection is cut.
struct Case {
    input: &'static [u8],
    /// All that the client sends.
    sent: Vec<u8>,
    /// All replies to that.
    replies: Vec<u8>,
    way: Way,
    how: How,
    /// How many bytes pass before the cut.
    after: usize,
    /// Whether the client connects again.
    retries: bool,
}

fn every_case(server: &Server) -> Vec<Case> {
    let mut cases = Vec::new();
    for input in INPUTS {
        let sent = [input, b"\n"].concat();
        let replies = exchange(server.connect(), &sent);
        for (way, length) in [(Way::There, sent.len()), (Way::Back, replies.len())] {
            for after in 0..length {
                for (how, retries) in [
                    (How::EndOfFile, false),
                    (How::EndOfFile, true),
                    (How::Reset, false),
                    (How::Reset, true),
                ] {
                    cases.push(Case {
                        input,
                        sent: sent.clone(),
                        replies: replies.clone(),
                        way,
                        how,
                        after,
                        retries,
                    });
                }
            }
        }
    }
    cases
}

/// Returns the length of the whole lines at the beginning.
fn whole_lines(bytes: &[u8]) -> usize {
    let lf = bytes.iter().rposition(|byte| *byte == b'\n');
    lf.map_or(0, |at| at + 1)
}

/// Returns the number of line ends.
fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

impl Case {
    /// Returns the replies that the client gets on the first connection; the last one may
    /// be cut.
    fn first_replies(&self, server: SocketAddr) -> Vec<u8> {
        match (self.way, self.how) {
            (Way::Back, _) => self.replies[..self.after].to_vec(),
            // At the end of the stream, a line that was cut is a message.
            (Way::There, How::EndOfFile) => exchange(connect(server), &self.sent[..self.after]),
            (Way::There, How::Reset) => {
                let answered = lines(&self.sent[..self.after]);
                let replies = self.replies.split_inclusive(|byte| *byte == b'\n');
                replies.take(answered).flatten().copied().collect()
            }
        }
    }

    /// Relays the first connection up to the cut, and another one unchanged.
    fn relay(
        &self,
        listener: &TcpListener,
        server: SocketAddr,
        is_over: &AtomicBool,
    ) -> io::Result<()> {
        let first_replies = self.first_replies(server);
        let mut client = accept(listener);
        let mut served = connect(server);
        client.read_exact(&mut vec![0; self.sent.len() - 1])?;
        match self.how {
            How::EndOfFile => client.read_exact(&mut [0])?,
            // A close with an unread byte resets the connection.
            How::Reset => _ = peek(&client, &mut [0])?,
        }
        match self.way {
            Way::There => served.write_all(&self.sent[..self.after])?,
            Way::Back => served.write_all(&self.sent)?,
        }
        if (self.way, self.how) == (Way::There, How::EndOfFile) {
            served.shutdown(Shutdown::Write)?;
        }
        let mut replies = vec![0; first_replies.len()];
        served.read_exact(&mut replies)?;
        assert_eq!(replies, first_replies);
        client.write_all(&replies)?;
        if self.how == How::EndOfFile {
            client.shutdown(Shutdown::Write)?;
            client.read_to_end(&mut Vec::new())?;
        }
        drop((client, served));

        // Without `--retry-for` there is no other connection.
        let Some(client) = accept_unless(listener, is_over) else {
            return Ok(());
        };
        let served = connect(server);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut &client, &mut &served);
                served.shutdown(Shutdown::Write)
            });
            let _ = io::copy(&mut &served, &mut &client);
            let _ = client.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Runs the client and checks its output and exit code. Returns whether the output was
    /// complete.
    fn run(&self, server: SocketAddr) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let retry_for = if self.retries { "20" } else { "0" };
        let file = temporary_file();
        fs::write(&file, self.input).unwrap();
        let mut client = client(address, &["-q", "--retry-for", retry_for]);
        let is_over = AtomicBool::new(false);
        let outcome = thread::scope(|scope| {
            let relay = scope.spawn(|| self.relay(&listener, server, &is_over));
            let outcome = run_from(&mut client, File::open(&file).unwrap());
            is_over.store(true, Ordering::Relaxed);
            relay.join().unwrap().unwrap();
            outcome
        });
        fs::remove_file(file).unwrap();

        let mut answers = self.first_replies(server);
        answers.truncate(whole_lines(&answers));
        if self.retries {
            let rest = self.replies.split_inclusive(|byte| *byte == b'\n');
            let rest = rest.skip(lines(&answers)).collect::<Vec<_>>();
            answers.extend(rest.concat());
        }
        let expected = answers.split_inclusive(|byte| *byte == b'\n');
        let expected = expected.map(|line| [b"Server: ", line].concat());
        let shown = format!(
            "{:?} after {} bytes {:?}, retries: {}\n{outcome}",
            self.how, self.after, self.way, self.retries,
        );
        assert_eq!(
            outcome.stdout,
            expected.collect::<Vec<_>>().concat(),
            "{shown}"
        );
        let rejected = b"Server rejected your message: ";
        let is_rejected = answers.windows(rejected.len()).any(|part| part == rejected);
        // A message that is cut before its LF keeps its CR, and so does its reply.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let is_complete = text(&answers) == text(&self.replies);
        let code = if is_complete && !is_rejected { 0 } else { 1 };
        assert_eq!(outcome.status.code(), Some(code), "{shown}");
        is_complete
    }
}

#[test]
fn wherever_a_connection_is_cut_the_output_is_exact_or_the_run_fails() {
    let server = Server::start(&["-q"]);
    let cases = every_case(&server);
    let [next, complete] = [(); 2].map(|()| AtomicUsize::new(0));
    thread::scope(|scope| {
        // Each client, with its relay and its slots of the server, has some 15 threads.
        for _ in 0..(threads_allowed() / 15).clamp(1, 12) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let is_complete = case.run(server.address);
                    complete.fetch_add(usize::from(is_complete), Ordering::Relaxed);
                }
            });
        }
    });
    let (all, complete) = (cases.len(), complete.into_inner());
    println!("{all} connections were cut, {complete} outputs were complete");
    assert!(all > 500 && complete > all / 3 && complete < all);
}
