//! The naive programs: compiled, started, and shown.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::judge::Target;
use crate::subject::Subject;
use crate::util::{Server, command, eventually, installed, run, spawn, temporary_file, unique_ip};

/// A program whose source is beside this file, compiled unless that was done already.
fn compiled(name: &str) -> Command {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let source = format!("{}/tests/tutorial/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let modified = |path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if modified(program.as_path()) < modified(source.as_ref()) {
        let new = temporary_file();
        let mut rustc = command(env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args(["--edition", "2024", &source, "-o"]).arg(&new);
        run(&mut rustc, "").assert(0, "", "");
        // Another run of these tests may use the program right now.
        fs::rename(new, &program).unwrap();
    }
    let mut command = command(program);
    command.env_remove("RUST_BACKTRACE");
    command
}

/// The naive server, which lacks an address yet.
pub fn naive() -> Command {
    let mut naive = compiled("naive");
    naive.arg("server");
    naive
}

/// The naive server on a free port.
pub fn naive_server() -> Subject {
    serve(&mut naive()).into()
}

/// The repaired server, which lacks an address yet.
pub fn repaired() -> Command {
    compiled("repaired")
}

/// The naive server after the repairs that come to mind first.
pub fn repaired_server() -> Subject {
    serve(&mut repaired()).into()
}

/// The server that misbehaves in this way, which lacks an address yet.
pub fn bad_server(mode: &str) -> Command {
    let mut server = compiled("bad_server");
    server.arg(mode);
    server
}

/// The server of this crate.
pub fn real_server(args: &[&str]) -> Subject {
    Server::start(args).into()
}

/// The tutorial's program in Python, which fails in some ways that std of Rust prevents.
/// `None` if there is no Python.
#[track_caller]
pub fn naive_server_in_python() -> Option<Target> {
    Some(Target::Command(in_python("naive.py")?))
}

/// The tutorial's program in Python with the repairs of the book. `None` if there is no
/// Python.
#[track_caller]
pub fn complete_server_in_python() -> Option<String> {
    in_python("complete.py")
}

#[track_caller]
fn in_python(file: &str) -> Option<String> {
    installed("python3")?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorial");
    Some(format!("python3 {folder}/{file}"))
}

/// Runs a command that becomes a server once it is told an address. All that it
/// prints is its log.
pub fn serve(command: &mut Command) -> Server {
    let log = temporary_file();
    let output = File::create(&log).unwrap();
    command
        .arg(format!("{}:0", unique_ip()))
        .stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let process = spawn(command);
    let address = eventually(|| {
        let printed = fs::read_to_string(&log).unwrap();
        let line = printed.split_once('\n').map(|(line, _)| line);
        let address = line.and_then(|line| line.strip_prefix("Server listening on "));
        let address = address.and_then(|address| address.parse().ok());
        address.ok_or(format!("{command:?} printed {printed:?}"))
    });
    Server::new(process, address, log)
}

/// The naive client, to be run against the server at this address.
pub fn naive_client(address: SocketAddr) -> Command {
    let mut client = compiled("naive");
    client.args(["client", &address.to_string()]);
    client
}

/// All that comes, and the error that it ends with, if there is one.
pub fn read_to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match end {
        Ok(_) => text,
        Err(error) => text + "<" + &error.to_string() + ">",
    }
}

/// Writes until the other side has gone, or takes no more for a while.
pub fn write_until_error(mut stream: &TcpStream, bytes: &[u8]) -> io::Error {
    loop {
        if let Err(error) = stream.write_all(bytes) {
            return error;
        }
    }
}

/// Shows what went into a program and what came out.
pub fn show(program: &str, sent: impl AsRef<[u8]>, came: impl AsRef<[u8]>) {
    println!("{program} <- {}", shown(sent));
    println!("{program} -> {}", shown(came));
}

/// A text in quotes, without the middle of a long one.
pub fn shown(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let text = format!("{:?}", String::from_utf8_lossy(bytes));
    let length = text.chars().count();
    if length <= 200 {
        return text;
    }
    let begin: String = text.chars().take(60).collect();
    let end: String = text.chars().skip(length - 30).collect();
    format!("{begin}…{end} ({} bytes)", bytes.len())
}

/// Shows what a server has printed, each line by its beginning.
pub fn show_log(server: &Server) {
    for line in server.log().lines() {
        println!("| {}", line.chars().take(100).collect::<String>());
    }
}
