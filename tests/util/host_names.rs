//! Host names and a name server for one command, by files in `/etc` that only it sees.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::{HANG_LIMIT, installed, run, skip, temporary_file, uninterrupted, unique_ip};

/// Returns the command with these files instead of those in `/etc`; skips the test if
/// this process may not mount files.
#[track_caller]
fn with_etc_files(command: &Command, files: &[(&str, String)]) -> Option<Command> {
    let mut unshare = installed("unshare")?;
    let allowed = run(installed("unshare")?.args(["-m", "true"]), "");
    if !allowed.status.success() {
        skip(allowed.stderr.trim_end());
        return None;
    }
    let mut script = String::new();
    for (name, content) in files {
        let path: PathBuf = temporary_file();
        fs::write(&path, content).unwrap();
        let path = path.display();
        script += &format!("mount --bind '{path}' /etc/{name} && rm '{path}' && ");
    }
    unshare
        .args(["-m", "sh", "-c", &format!("{script} exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    Some(unshare)
}

/// Returns the command with a host named `host.test` that has these addresses.
#[track_caller]
pub fn with_host_addresses(command: &Command, addresses: &[IpAddr]) -> Option<Command> {
    let lines = addresses.iter().map(|ip| format!("{ip} host.test\n"));
    with_etc_files(command, &[("hosts", lines.collect())])
}

/// A name server that answers no question until `answer` is called.
pub struct NameServer(UdpSocket);

impl NameServer {
    /// Starts the name server; skips the test if this process may not listen on port 53.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let socket = match UdpSocket::bind((unique_ip(), 53)) {
            Ok(socket) => socket,
            Err(error) => {
                skip(format_args!("no name server to be had: {error}"));
                return None;
            }
        };
        socket.set_read_timeout(Some(HANG_LIMIT)).unwrap();
        Some(NameServer(socket))
    }

    /// Returns the command with this as its only name server.
    #[track_caller]
    pub fn serve(&self, command: &Command) -> Option<Command> {
        let ip = self.0.local_addr().unwrap().ip();
        let files = [
            ("resolv.conf", format!("nameserver {ip}\n")),
            ("nsswitch.conf", "hosts: files dns\n".to_string()),
        ];
        with_etc_files(command, &files)
    }

    /// Waits until a question arrives, and leaves it unread.
    pub fn await_question(&self) {
        uninterrupted(|| self.0.peek(&mut [0; 512])).unwrap();
    }

    /// Returns how many questions have arrived since the last call, and answers none.
    pub fn count_questions(&self) -> usize {
        self.0.set_nonblocking(true).unwrap();
        let mut buffer = [0; 512];
        let mut questions = 0;
        while self.0.recv(&mut buffer).is_ok() {
            questions += 1;
        }
        self.0.set_nonblocking(false).unwrap();
        questions
    }

    /// Answers all questions from now on: every name has this address.
    pub fn answer(self, address: Ipv4Addr) {
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = uninterrupted(|| self.0.recv_from(&mut buffer)) {
                let question = &buffer[..length];
                // After the header of 12 bytes comes the name, in parts with their lengths.
                let mut end = 12;
                while question[end] > 0 {
                    end += 1 + question[end] as usize;
                }
                // The last part is empty; then come the type and the class, 2 bytes each.
                end += 5;
                let is_for_ipv4 = question[end - 3] == 1;
                // The question's number, the flags (a recursive answer without error), one
                // question, and one answer if it is about IPv4.
                let mut answer = question[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, is_for_ipv4.into(), 0, 0, 0, 0]);
                answer.extend(&question[12..end]);
                if is_for_ipv4 {
                    // The name (a pointer to the question's), type and class of an IPv4
                    // address, a second to live, and 4 bytes.
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                    answer.extend(address.octets());
                }
                let _ = self.0.send_to(&answer, client);
            }
        });
    }
}
