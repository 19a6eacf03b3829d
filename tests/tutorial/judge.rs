//! The judge: the book's cases, tried on a server of the reader's own.
//!
//! ```text
//! YOURS="python3 my_server.py" cargo test --test tutorial yours
//! YOURS=127.0.0.1:12345 cargo test --test tutorial yours
//! ```
//!
//! No verdict depends on speed. The cases pause the process and wait for events. What load
//! can falsify is shown as a figure, and not judged. One cause has one verdict: cases that
//! presuppose lines do not judge a server that has none.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::CASES;
use crate::framing;
use crate::programs::{naive, repaired};
use crate::subject::{Came, Subject, is_listening};
use crate::util::{Server, command, print_to_stderr, spawn, temporary_file, unused_address};

/// How a case ends for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does what every client expects.
    Holds,
    /// It is wrong by any reading, or harms other clients or the machine.
    Breaks,
    /// It may do this or something else.
    Choice,
    /// It keeps a promise that ordinary servers do not make.
    Kept,
    NotKept,
    /// A number of this run on this machine.
    Figure,
    /// The case presupposes something that the server does not have.
    NotJudged,
    /// The case needs the server's process, or a program that this machine lacks.
    LeftOut,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Holds => "holds",
            Verdict::Breaks => "BREAKS",
            Verdict::Choice => "choice",
            Verdict::Kept => "kept",
            Verdict::NotKept => "not kept",
            Verdict::Figure => "figure",
            Verdict::NotJudged => "not judged",
            Verdict::LeftOut => "left out",
        })
    }
}

/// What a case has found.
pub struct Finding {
    pub verdict: Verdict,
    /// What was done and what came of it, or why there is no verdict.
    pub evidence: String,
}

impl Finding {
    pub fn new(verdict: Verdict, evidence: impl fmt::Display) -> Self {
        Finding {
            verdict,
            evidence: evidence.to_string(),
        }
    }

    /// Whether the server is right, and what shows it.
    pub fn judged(is_right: bool, evidence: impl fmt::Display) -> Self {
        let verdict = if is_right {
            Verdict::Holds
        } else {
            Verdict::Breaks
        };
        Self::new(verdict, evidence)
    }
}

/// What a case needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A server at an address.
    Address,
    /// A server that replies to each line.
    Lines,
    /// The server's process.
    Process,
    /// Both.
    LinesAndProcess,
}

/// How serious a case is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Wrong,
    Harm,
    Choice,
    Promise,
    Figure,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Wrong => "What every client expects",
            Class::Harm => "No harm to other clients, or to the machine",
            Class::Choice => "Choices, which are not judged",
            Class::Promise => "Promises that ordinary servers do not make",
            Class::Figure => "Figures of this run",
        })
    }
}

/// A case of the book.
pub struct Case {
    pub class: Class,
    /// What a server does that is right.
    pub name: &'static str,
    /// The entry of the book that explains it.
    pub entry: &'static str,
    pub needs: Needs,
    /// Whether it waits for a time limit of the server.
    pub waits: bool,
    pub judge: fn(&Trial) -> Finding,
}

/// The server that is judged, and what is known of it.
pub struct Trial {
    pub target: Target,
    /// What its first replies look like; `None` if they follow no pattern.
    pub replies: Option<Replies>,
    /// What came for a line and then another one.
    pub first_replies: Came,
    /// What came for two lines at once.
    pub two_lines: Came,
}

/// How the server is reached.
#[derive(Clone)]
pub enum Target {
    /// A command, to which the address is added. It is started anew for each case.
    Command(String),
    /// A server that runs already.
    Address(SocketAddr),
}

impl Target {
    fn read(yours: &str) -> Self {
        match yours.parse() {
            Ok(address) => Target::Address(address),
            Err(_) => Target::Command(yours.to_string()),
        }
    }

    pub fn start(&self) -> Result<Subject, String> {
        match self {
            Target::Address(address) => Ok(Subject::at(*address)),
            Target::Command(_) => self.start_at(unused_address()),
        }
    }

    /// Starts it at this address, unless it runs already.
    pub fn start_at(&self, address: SocketAddr) -> Result<Subject, String> {
        match self {
            Target::Address(address) => Ok(Subject::at(*address)),
            Target::Command(yours) => start(&mut shell(yours, address), address),
        }
    }
}

/// The reader's command with the address as its last argument.
fn shell(yours: &str, address: SocketAddr) -> Command {
    let mut shell = command("/bin/sh");
    shell.args(["-c", "exec $YOURS \"$@\"", "sh", &address.to_string()]);
    shell.env("YOURS", yours);
    // What it prints is looked at while it runs.
    shell.env("PYTHONUNBUFFERED", "1");
    shell
}

/// Starts a command that becomes a server at this address, and waits until it listens.
fn start(command: &mut Command, address: SocketAddr) -> Result<Subject, String> {
    let log = temporary_file();
    let output = File::create(&log).unwrap();
    command.stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let mut process = spawn(command);
    let begun = Instant::now();
    while !is_listening(address) {
        let has_ended = process.try_wait().unwrap().is_some();
        if has_ended || begun.elapsed() > Duration::from_secs(10) {
            let printed = fs::read_to_string(&log).unwrap_or_default();
            let _ = fs::remove_file(&log);
            let how = if has_ended {
                "ended"
            } else {
                "does not listen"
            };
            return Err(format!("it {how}, and has printed:\n{printed}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(Server::new(process, address, log).into())
}

/// What a server's replies look like: what comes once, at the beginning, and what stands
/// round the text of each line.
pub struct Replies {
    greeting: String,
    pub prefix: String,
    pub end: String,
}

impl Replies {
    /// Learns from what came for `one`, and then for `two`.
    fn learn(came: &str, one: &str, two: &str) -> Option<Self> {
        let (before, rest) = came.split_once(one)?;
        let (between, _) = rest.split_once(two)?;
        let end = match between.find('\n') {
            Some(lf) => &between[..=lf],
            None => "",
        };
        let prefix = &between[end.len()..];
        let greeting = before.strip_suffix(prefix)?;
        Some(Replies {
            greeting: greeting.to_string(),
            prefix: prefix.to_string(),
            end: end.to_string(),
        })
    }

    /// What must come for these lines.
    pub fn to<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> String {
        let mut replies = self.greeting.clone();
        for line in lines {
            replies += &format!("{}{line}{}", self.prefix, self.end);
        }
        replies
    }
}

impl Trial {
    pub fn new(target: Target) -> Result<Self, String> {
        let subject = target.start()?;
        let first_replies = framing::one_line_then_another(&subject);
        let replies = Replies::learn(&first_replies.text(), "hello", "again");
        let two_lines = framing::two_lines_at_once(&target.start()?);
        Ok(Trial {
            target,
            replies,
            first_replies,
            two_lines,
        })
    }

    /// The server, started for a case.
    pub fn start(&self) -> Subject {
        self.target.start().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The server as another command runs it.
    pub fn start_by(&self, wrap: impl FnOnce(&Command) -> Option<Command>) -> Option<Subject> {
        let Target::Command(yours) = &self.target else {
            return None;
        };
        let address = unused_address();
        // The wrapper keeps no environment of the command that it is given.
        let mut wrapped = wrap(&shell(yours, address))?;
        wrapped.env("YOURS", yours).env("PYTHONUNBUFFERED", "1");
        start(&mut wrapped, address).ok()
    }

    /// Whether each of two lines has its reply.
    pub fn has_lines(&self) -> bool {
        let is_right = |replies: &Replies| self.two_lines.text() == replies.to(["one", "two"]);
        self.replies.as_ref().is_some_and(is_right)
    }

    /// What must come for these lines, from a server that has lines.
    pub fn expected<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> String {
        let replies = self.replies.as_ref();
        replies.map(|replies| replies.to(lines)).unwrap_or_default()
    }

    fn judge(&self, case: &Case) -> Finding {
        let has_process = matches!(self.target, Target::Command(_));
        let (lines, process) = match case.needs {
            Needs::Address => (false, false),
            Needs::Lines => (true, false),
            Needs::Process => (false, true),
            Needs::LinesAndProcess => (true, true),
        };
        if process && !has_process {
            return Finding::new(Verdict::LeftOut, "it needs the server's command");
        }
        if lines && !self.has_lines() {
            return Finding::new(Verdict::NotJudged, "it has no lines");
        }
        let judged = panic::catch_unwind(AssertUnwindSafe(|| (case.judge)(self)));
        judged.unwrap_or_else(|_| {
            // The panic was printed.
            Finding::new(Verdict::NotJudged, "the case itself has failed")
        })
    }
}

/// Judges a server, and shows each verdict as it comes.
fn judge(
    target: Target,
    waits: bool,
    mut show: impl FnMut(&'static Case, &Finding),
) -> Result<(), String> {
    let trial = Trial::new(target)?;
    for case in CASES {
        if case.waits && !waits {
            continue;
        }
        show(case, &trial.judge(case));
    }
    Ok(())
}

/// Judges the reader's server, if there is one. It passes whatever the verdicts are.
#[test]
fn yours() {
    let yours = env::var("YOURS").unwrap_or_default();
    if yours.is_empty() {
        print_to_stderr(
            "Your own server: YOURS=\"python3 my_server.py\" (or YOURS=IP:PORT) \
             cargo test --test tutorial yours",
        );
        return;
    }
    let mut breaks = Vec::new();
    let mut cases = 0;
    let mut class = None;
    let result = judge(Target::read(&yours), true, |case, finding| {
        if cases == 0 {
            print_to_stderr(format_args!("\n{yours}"));
        }
        if class != Some(case.class) {
            print_to_stderr(format_args!("\n{}:", case.class));
            class = Some(case.class);
        }
        print_to_stderr(row(case, finding).trim_end());
        cases += 1;
        if finding.verdict == Verdict::Breaks {
            breaks.push(case);
        }
    });
    if let Err(why) = result {
        panic!(
            "cannot start {yours}: {why}\n\
             read IP:PORT from the last argument, or start it and use YOURS=IP:PORT"
        );
    }
    if breaks.is_empty() {
        print_to_stderr(format_args!("\nNone of {cases} cases breaks."));
        return;
    }
    print_to_stderr(format_args!(
        "\n{} of {cases} cases break. The entries of the book that explain them:",
        breaks.len()
    ));
    for case in breaks {
        let page = page_of(case.entry);
        print_to_stderr(format_args!("  {page}, \"{}\": {}", case.entry, case.name));
    }
}

/// The page of the book that has an entry.
fn page_of(entry: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/book");
    let heading = format!("## {entry}");
    for page in fs::read_dir(folder).unwrap() {
        let page = page.unwrap();
        let text = fs::read_to_string(page.path()).unwrap();
        if text.lines().any(|line| line == heading) {
            return format!("src/book/{}", page.file_name().display());
        }
    }
    panic!("no page of the book has the entry {entry:?}");
}

/// What must break in a server that is known.
struct Known {
    name: &'static str,
    command: String,
    breaks: &'static [&'static str],
}

/// A script that gives the real server its address as it takes it.
fn real_server_script() -> PathBuf {
    let script = temporary_file();
    let server = env!("CARGO_BIN_EXE_server");
    let text = format!("exec '{server}' --host \"${{1%:*}}\" --port \"${{1##*:}}\"\n");
    fs::write(&script, text).unwrap();
    script
}

#[test]
fn the_judge_finds_in_known_servers_what_the_book_says() {
    let script = real_server_script();
    let path = |command: Command| command.get_program().to_string_lossy().into_owned();
    let known = [
        Known {
            name: "naive",
            command: format!("{} server", path(naive())),
            breaks: &[
                "each of two lines in one segment has its reply",
                "its output contains no control characters of a client",
                "without free descriptors it serves on, and then new clients, too",
                "without free threads it serves on, and then new clients, too",
            ],
        },
        Known {
            name: "repaired",
            command: path(repaired()),
            breaks: &[
                "a line of 16 MiB without an end takes no memory",
                "its output contains no control characters of a client",
                "without free threads it serves on, and then new clients, too",
            ],
        },
        Known {
            name: "real",
            command: format!("sh {}", script.display()),
            breaks: &[],
        },
    ];
    thread::scope(|scope| {
        for server in &known {
            scope.spawn(|| assert_finds(server));
        }
    });
    fs::remove_file(script).unwrap();
}

fn assert_finds(server: &Known) {
    let mut breaks = Vec::new();
    let mut table = String::new();
    judge(
        Target::Command(server.command.clone()),
        false,
        |case, finding| {
            table += &row(case, finding);
            match finding.verdict {
                Verdict::Breaks => breaks.push(case.name),
                // Not every machine can limit threads.
                Verdict::LeftOut if server.breaks.contains(&case.name) => breaks.push(case.name),
                _ => {}
            }
        },
    )
    .unwrap();
    println!("{}:\n{table}", server.name);
    assert_eq!(breaks, server.breaks, "{}:\n{table}", server.name);
    assert!(!table.contains("the case itself has failed"), "{table}");
}

/// A line of the table.
fn row(case: &Case, finding: &Finding) -> String {
    let Finding { verdict, evidence } = finding;
    format!("  {verdict:10}  {}: {evidence}\n", case.name)
}
