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

use std::cell::OnceCell;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::CASES;
use crate::framing;
use crate::peers::{self, Patience};
use crate::programs::{complete_server_in_python, naive, repaired};
use crate::subject::{Came, ONE, OTHER, Subject, contains, is_listening};
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
pub enum Need {
    /// A server whose replies repeat the lines, several on a connection.
    Replies,
    /// A server in which a reply belongs to a line.
    Lines,
    /// A server that serves several clients at once.
    Several,
    /// The server's process.
    Process,
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
    pub needs: &'static [Need],
    /// Whether it waits for a time limit of the server.
    pub waits: bool,
    pub judge: fn(&Trial) -> Finding,
}

/// The server that is judged, and what is known of it.
pub struct Trial {
    pub target: Target,
    /// How long a reply takes, at most.
    pub latency: Duration,
    /// What came for a line, and then for another one.
    pub first_replies: Came,
    /// What came for two lines at once, after a single one that shows the pattern.
    pub two_lines: Came,
    /// What the replies look like; `None` if they follow no pattern.
    pub replies: Option<Replies>,
    serves_several: OnceCell<bool>,
    patience: OnceCell<Patience>,
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
    /// Reads `HOST:PORT`, or else a command.
    fn read(yours: &str) -> Self {
        let addresses = yours.to_socket_addrs();
        match addresses.ok().and_then(|mut addresses| addresses.next()) {
            Some(address) => Target::Address(address),
            None => Target::Command(yours.to_string()),
        }
    }

    pub fn start(&self) -> Result<Subject, String> {
        match self {
            Target::Address(address) => match TcpStream::connect(address) {
                Ok(_) => Ok(Subject::at(*address)),
                Err(error) => Err(format!("cannot connect: {error}")),
            },
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

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

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
        if has_ended || begun.elapsed() > START_LIMIT {
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
/// before and after the text of each line. Numbers in it may differ from reply to reply.
pub struct Replies {
    greeting: String,
    prefix: String,
    pub end: String,
}

impl Replies {
    /// Learns from what came for one line, and then for another one.
    fn learn(came: &str, one: &str, other: &str) -> Option<Self> {
        let (before, rest) = came.split_once(one)?;
        let (between, _) = rest.split_once(other)?;
        let end = match between.find('\n') {
            Some(lf) => &between[..=lf],
            None => "",
        };
        let prefix = &between[end.len()..];
        // Its numbers may be longer or shorter than those of the second reply.
        let starts = before.char_indices().map(|(at, _)| at);
        let mut starts = starts.chain([before.len()]);
        let greeting = starts.find(|at| strip_pattern(&before[*at..], prefix) == Some(""))?;
        Some(Replies {
            greeting: before[..greeting].to_string(),
            prefix: prefix.to_string(),
            end: end.to_string(),
        })
    }

    /// Returns how many of these lines have their replies, in order and from the beginning.
    pub fn count<'a>(&self, came: &str, lines: impl IntoIterator<Item = &'a str>) -> usize {
        let Some(mut rest) = strip_pattern(came, &self.greeting) else {
            return 0;
        };
        let mut count = 0;
        for line in lines {
            let reply = strip_pattern(rest, &self.prefix);
            let after = reply
                .and_then(|reply| reply.strip_prefix(line))
                .and_then(|reply| strip_pattern(reply, &self.end));
            let Some(after) = after else {
                break;
            };
            rest = after;
            count += 1;
        }
        count
    }
}

/// Removes a pattern from the beginning of a text, in which any number may stand for a number.
fn strip_pattern<'a>(text: &'a str, pattern: &str) -> Option<&'a str> {
    let (mut text, mut pattern) = (text, pattern);
    while let Some(wanted) = pattern.chars().next() {
        let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (wanted_digits, digits) = (number(pattern), number(text));
        if wanted_digits > 0 {
            if digits == 0 {
                return None;
            }
            text = &text[digits..];
            pattern = &pattern[wanted_digits..];
        } else {
            text = text.strip_prefix(wanted)?;
            pattern = &pattern[wanted.len_utf8()..];
        }
    }
    Some(text)
}

/// Lets one wait for a server as long as it needs for a reply.
fn patient(mut subject: Subject, latency: Duration) -> Subject {
    subject.quiet = subject.quiet.max(3 * latency);
    subject
}

impl Trial {
    pub fn new(target: Target) -> Result<Self, String> {
        let mut subject = target.start()?;
        // Nothing is known yet of how long it takes.
        subject.quiet = Duration::from_secs(6);
        let begun = Instant::now();
        let mut stream = subject.connect();
        let _ = stream.write_all(format!("{ONE}\n").as_bytes());
        let first = subject.read_until(&stream, |bytes| contains(bytes, ONE));
        let mut latency = Duration::ZERO;
        if first.contains(ONE) {
            latency = begun.elapsed();
        }
        drop((stream, subject));

        let first_replies = framing::one_line_then_another(&patient(target.start()?, latency));
        let replies = Replies::learn(&first_replies.text(), ONE, OTHER);
        let two_lines = framing::two_lines_at_once(&patient(target.start()?, latency));
        Ok(Trial {
            target,
            latency,
            first_replies,
            two_lines,
            replies,
            serves_several: OnceCell::new(),
            patience: OnceCell::new(),
        })
    }

    /// The server, started for a case.
    pub fn start(&self) -> Subject {
        match self.target.start() {
            Ok(subject) => patient(subject, self.latency),
            Err(why) => panic!("{why}"),
        }
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
        start(&mut wrapped, address)
            .ok()
            .map(|subject| patient(subject, self.latency))
    }

    /// Whether its replies repeat the lines, several on a connection.
    pub fn repeats_lines(&self) -> bool {
        self.first_replies.contains(ONE) && self.first_replies.contains(OTHER)
    }

    /// Whether each of two lines has its reply.
    pub fn has_lines(&self) -> bool {
        self.count(&self.two_lines, [ONE, OTHER]) == 2
    }

    /// After which time it closes a client that sends nothing, or ends no line.
    pub fn patience(&self) -> &Patience {
        let limit = Duration::from_secs(5);
        self.patience
            .get_or_init(|| peers::patience(&self.start(), limit))
    }

    /// Whether a client is served while others are connected.
    pub fn serves_several(&self) -> bool {
        *self
            .serves_several
            .get_or_init(|| peers::is_served_beside_silent_clients(&self.start()))
    }

    /// Returns how many of these lines have their replies, in order and from the beginning.
    pub fn count<'a>(&self, came: &Came, lines: impl IntoIterator<Item = &'a str>) -> usize {
        let replies = self.replies.as_ref();
        replies.map_or(0, |replies| replies.count(&came.text(), lines))
    }

    /// Why a case cannot judge this server.
    fn lacks(&self, need: Need) -> Option<Finding> {
        let lacks = |verdict, why: &str| Some(Finding::new(verdict, why));
        match need {
            Need::Process if !matches!(self.target, Target::Command(_)) => {
                lacks(Verdict::LeftOut, "it needs the server's command")
            }
            Need::Replies | Need::Lines | Need::Several if !self.repeats_lines() => {
                lacks(Verdict::NotJudged, "its replies do not repeat two lines")
            }
            Need::Lines if !self.has_lines() => lacks(
                Verdict::NotJudged,
                "first, each of two lines must have its reply",
            ),
            Need::Several if !self.serves_several() => {
                lacks(Verdict::NotJudged, "it serves one client at a time")
            }
            _ => None,
        }
    }

    fn judge(&self, case: &Case) -> Finding {
        let judged = panic::catch_unwind(AssertUnwindSafe(|| {
            let lacking = case.needs.iter().find_map(|need| self.lacks(*need));
            lacking.unwrap_or_else(|| (case.judge)(self))
        }));
        judged.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let why = text.or(panic.downcast_ref::<&str>().copied());
            let why = why.unwrap_or_default().lines().next().unwrap_or_default();
            Finding::new(
                Verdict::NotJudged,
                format!("the case itself has failed: {why}"),
            )
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

/// Judges the reader's server, if there is one. It passes with any verdicts.
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
    let mut to_choose = Vec::new();
    let mut cases = 0;
    let mut holds = 0;
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
        match finding.verdict {
            Verdict::Breaks => breaks.push(case),
            Verdict::Holds => holds += 1,
            Verdict::NotKept | Verdict::Choice | Verdict::Figure => {
                to_choose.push((case, finding.verdict));
            }
            Verdict::Kept | Verdict::NotJudged | Verdict::LeftOut => {}
        }
    });
    if let Err(why) = result {
        panic!(
            "cannot start {yours}: {why}\n\
             read IP:PORT from the last argument and stay in the foreground, \
             or start it and use YOURS=IP:PORT"
        );
    }
    let others = cases - holds - breaks.len();
    print_to_stderr(format_args!(
        "\nBREAKS: {}, holds: {holds}, neither: {others} of {cases} cases.",
        breaks.len()
    ));
    for case in breaks {
        print_to_stderr(format_args!("  {}: {}", place_in_the_book(case), case.name));
    }
    print_to_stderr("\nMore about choices, promises and figures:");
    for (case, verdict) in to_choose {
        let place = place_in_the_book(case);
        print_to_stderr(format_args!("  {verdict:8}  {place}: {}", case.name));
    }
}

/// Where the book explains a case.
fn place_in_the_book(case: &Case) -> String {
    format!("{}, \"{}\"", page_of(case.entry), case.entry)
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
    keeps_its_promises: bool,
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
    let mut known = vec![
        Known {
            name: "naive",
            command: format!("{} server", path(naive())),
            breaks: &[
                "each of two lines in one segment has its reply",
                "its output contains no control characters of a client",
                "without free descriptors it serves on, and then new clients, too",
                "without free threads it serves on, and then new clients, too",
            ],
            keeps_its_promises: false,
        },
        Known {
            name: "repaired",
            command: path(repaired()),
            breaks: &[
                "a line of 16 MiB takes no memory, and has one reply at most",
                "its output contains no control characters of a client",
                "without free threads it serves on, and then new clients, too",
            ],
            keeps_its_promises: false,
        },
        Known {
            name: "real",
            command: format!("sh {}", script.display()),
            breaks: &[],
            keeps_its_promises: true,
        },
    ];
    if let Some(command) = complete_server_in_python() {
        known.push(Known {
            name: "complete",
            command,
            breaks: &[],
            keeps_its_promises: true,
        });
    }
    thread::scope(|scope| {
        for server in &known {
            scope.spawn(|| assert_finds(server));
        }
    });
    fs::remove_file(script).unwrap();
}

fn assert_finds(server: &Known) {
    let mut breaks = Vec::new();
    let mut not_kept = 0;
    let mut table = String::new();
    judge(
        Target::Command(server.command.clone()),
        false,
        |case, finding| {
            table += &row(case, finding);
            match finding.verdict {
                Verdict::Breaks => breaks.push(case.name),
                Verdict::NotKept => not_kept += 1,
                // Not every machine can limit threads.
                Verdict::LeftOut if server.breaks.contains(&case.name) => breaks.push(case.name),
                _ => {}
            }
        },
    )
    .unwrap();
    println!("{}:\n{table}", server.name);
    assert_eq!(breaks, server.breaks, "{}:\n{table}", server.name);
    let keeps_its_promises = not_kept == 0;
    let expected = server.keeps_its_promises;
    assert_eq!(keeps_its_promises, expected, "{}:\n{table}", server.name);
    assert!(!table.contains("the case itself has failed"), "{table}");
}

/// A line of the table.
fn row(case: &Case, finding: &Finding) -> String {
    let Finding { verdict, evidence } = finding;
    format!("  {verdict:10}  {}: {evidence}\n", case.name)
}

#[test]
fn the_judge_learns_what_replies_look_like() {
    println!("learns from what came first, and counts the replies to two lines:");
    for (came, all) in [
        // An echo.
        ("quokka\nwombat\n", "quokka\nwombat\n"),
        // A greeting, CR LF, and something after the end.
        (
            "Hi 7!\n> quokka\r\n> wombat\r\n> ",
            "Hi 12!\n> quokka\r\n> wombat\r\n> Bye\n",
        ),
        // Numbers that differ.
        (
            "127.0.0.1:9: quokka\n127.0.0.1:9: wombat",
            "127.0.0.1:60430: quokka\n127.0.0.1:60430: wombat\n",
        ),
        (
            "[12:00:09] quokka\n[12:00:10] wombat\n",
            "[1:2:3] quokka\n[4:5:6] wombat\n",
        ),
        // Without an end, and without a prefix.
        ("P: quokkaP: wombat", "P: quokkaP: wombat"),
    ] {
        let replies = Replies::learn(came, ONE, OTHER).unwrap();
        println!("{came:?}, then 2 of 2 in {all:?}");
        assert_eq!(replies.count(all, [ONE, OTHER]), 2, "{came:?}");
        assert_eq!(replies.count(all, [ONE, ONE]), 1, "{came:?}");
        assert_eq!(replies.count(all, [OTHER]), 0, "{came:?}");
    }
    let replies = Replies::learn("P: quokka\nP: wombat\n", ONE, OTHER).unwrap();
    assert_eq!(replies.count("P: quokka\nwombat\n", [ONE, OTHER]), 1);
    assert!(Replies::learn("quokka", ONE, OTHER).is_none());
    assert!(Replies::learn("1. quokka\nSecond: wombat\n", ONE, OTHER).is_none());
}
