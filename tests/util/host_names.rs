//! Files in `/etc` that only one process sees, for names of a test's own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::{LIMIT, own_ip, program, run, skip, temporary_file, uninterrupted};

/// Lets a command see these files instead of those in `/etc`, unless this process
/// may not arrange that.
#[track_caller]
fn with_etc(command: &Command, files: &[(&str, String)]) -> Option<Command> {
    let mut unshare = program("unshare")?;
    let allowed = run(program("unshare")?.args(["-m", "true"]), "");
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

/// Lets a command know a host named `host.test` by these addresses.
#[track_caller]
pub fn etc_hosts(command: &Command, addresses: &[IpAddr]) -> Option<Command> {
    let lines = addresses.iter().map(|ip| format!("{ip} host.test\n"));
    with_etc(command, &[("hosts", lines.collect())])
}

/// A name server that answers no question unless told.
pub struct NameServer(UdpSocket);

impl NameServer {
    /// Starts it, unless this process may not listen on the port for it.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let socket = UdpSocket::bind((own_ip(), 53));
        if let Err(error) = &socket {
            skip(format_args!("no name server to be had: {error}"));
        }
        let socket = socket.ok()?;
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Some(NameServer(socket))
    }

    /// Lets a command know no other name server.
    #[track_caller]
    pub fn serve(&self, command: &Command) -> Option<Command> {
        let ip = self.0.local_addr().unwrap().ip();
        let files = [
            ("resolv.conf", format!("nameserver {ip}\n")),
            ("nsswitch.conf", "hosts: files dns\n".to_string()),
        ];
        with_etc(command, &files)
    }

    /// Waits until it is asked.
    pub fn await_question(&self) {
        uninterrupted(|| self.0.peek(&mut [0; 512])).unwrap();
    }

    /// How many questions came, none of them answered.
    pub fn count_questions(&self) -> usize {
        self.0.set_nonblocking(true).unwrap();
        let mut room = [0; 512];
        let questions = std::iter::from_fn(|| self.0.recv(&mut room).ok()).count();
        self.0.set_nonblocking(false).unwrap();
        questions
    }

    /// Answers, from now on: every name has this address.
    pub fn answer(self, address: Ipv4Addr) {
        thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, client)) = uninterrupted(|| self.0.recv_from(&mut room)) {
                let question = &room[..length];
                // After the header comes the name, in parts with their lengths.
                let mut end = 12;
                while question[end] > 0 {
                    end += 1 + question[end] as usize;
                }
                end += 5;
                let is_for_ipv4 = question[end - 3] == 1;
                // Its number; answered, recursively, without error; one question,
                // and one answer if there is one.
                let mut answer = question[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, is_for_ipv4.into(), 0, 0, 0, 0]);
                answer.extend(&question[12..end]);
                if is_for_ipv4 {
                    // The name of the question, an address, for a second.
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                    answer.extend(address.octets());
                }
                let _ = self.0.send_to(&answer, client);
            }
        });
    }
}
