//! The sections of a page, each run in a new shell.

use std::fmt::Write;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::namespaces::Namespaces;
use crate::page::{Page, Section, ShownCommand};
use crate::shell::{End, Outcome, Shell};
use crate::util::{excerpt, installed_for};

/// How long things may take.
struct Limits {
    /// All commands of a section together.
    section: Duration,
    /// Programs in the background, until they have printed what is shown.
    background: Duration,
    /// For how long a command in the background that shows no output must print nothing.
    silence: Duration,
}

const LIMITS: Limits = Limits {
    section: Duration::from_secs(60),
    background: Duration::from_secs(10),
    silence: Duration::from_millis(100),
};

/// Most sections wait rather than compute, so more of them run at once than a small
/// machine has processors.
const MAX_SECTIONS_AT_ONCE: usize = 6;

/// Runs all sections of a page. Returns a text for each command that failed.
pub fn run_all(page: &Page) -> Vec<String> {
    if page.sections.is_empty() {
        return Vec::new();
    }
    let Some(namespaces) = Namespaces::find() else {
        return Vec::new();
    };
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for section in &page.sections {
            let failures = &failures;
            scope.spawn(move || {
                let _turn = Turn::wait();
                if !has_programs(page, section) {
                    return;
                }
                let failed = run(section, namespaces, &LIMITS);
                let failed = failed
                    .iter()
                    .map(|failure| format!("{}:{failure}", page.name));
                failures.lock().unwrap().extend(failed);
            });
        }
    });
    failures.into_inner().unwrap()
}

/// Whether all programs that the section needs are installed; says which one is not.
fn has_programs(page: &Page, section: &Section) -> bool {
    let place = format!("{}:{}", page.name, section.commands[0].line);
    let mut needs = section.needs.iter();
    needs.all(|name| installed_for(&place, name).is_some())
}

/// The turn of a section, which ends when this value is dropped.
struct Turn;

static RUNNING_SECTIONS: Mutex<usize> = Mutex::new(0);
static TURN_ENDED: Condvar = Condvar::new();

impl Turn {
    /// Waits until fewer sections run than may.
    fn wait() -> Turn {
        let running = RUNNING_SECTIONS.lock().unwrap();
        let is_full = |running: &mut usize| *running >= MAX_SECTIONS_AT_ONCE;
        let mut running = TURN_ENDED.wait_while(running, is_full).unwrap();
        *running += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING_SECTIONS.lock().unwrap() -= 1;
        TURN_ENDED.notify_one();
    }
}

/// Runs the commands of a section in order. Returns a text for each that failed.
fn run(section: &Section, namespaces: &Namespaces, limits: &Limits) -> Vec<String> {
    let mut shell = Shell::start(namespaces, limits.section);
    let mut failures = Vec::new();
    for command in &section.commands {
        let outcome = run_command(&mut shell, command, limits);
        if let Err(failure) = check(command, &outcome) {
            failures.push(failure);
        }
        // The next commands show what is wrong, too, as long as there is a shell.
        if !matches!(outcome.end, End::Status(_)) {
            break;
        }
    }
    shell.finish();
    failures
}

/// Runs a command to its end or, in the background, until it has printed what is shown.
fn run_command(shell: &mut Shell, command: &ShownCommand, limits: &Limits) -> Outcome {
    let mut outcome = shell.run(&command.command);
    if !command.is_in_background() || !matches!(outcome.end, End::Status(_)) {
        return outcome;
    }
    let shows_nothing = command.output.is_empty();
    let limit = if shows_nothing {
        limits.silence
    } else {
        limits.background
    };
    let until = Instant::now() + limit;
    while shows_nothing || !command.fits(&String::from_utf8_lossy(&outcome.output)) {
        match shell.read_background(until) {
            Some(output) => outcome.output.extend(output),
            None => break,
        }
    }
    outcome
}

/// Compares what a command did with what the page shows. Returns a text with all of it if
/// that differs.
fn check(command: &ShownCommand, outcome: &Outcome) -> Result<(), String> {
    let output = String::from_utf8_lossy(&outcome.output);
    let end = match outcome.end {
        End::Status(0) => "exit status 0".to_string(),
        End::Status(status) => format!("exit status {status}"),
        End::OfShell => "it ended the shell".to_string(),
        End::TimedOut => "it still runs at the end of its section's time".to_string(),
        End::TooMuchOutput => "it prints too much".to_string(),
    };
    let is_status_as_shown = match outcome.end {
        End::Status(status) => status == 0 || !command.output.is_empty(),
        _ => false,
    };
    if is_status_as_shown && command.fits(&output) {
        return Ok(());
    }
    let mut text = format!("{}: {}\n{end}\n", command.line, command.command);
    if command.output.is_empty() {
        text.push_str("expected: no output, and exit status 0\n");
    } else {
        let expected = command.output.join("\n");
        let _ = writeln!(text, "expected:\n{expected}");
    }
    if command.figures_differ {
        text.push_str("(any number for a number, but 0 for 0)\n");
    }
    let _ = write!(text, "actual:\n{}", excerpt(&output));
    Err(text)
}

impl ShownCommand {
    fn is_in_background(&self) -> bool {
        let command = self.command.trim_end();
        command.ends_with('&') && !command.ends_with("&&")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Runs a page that is one console block, with the marker before it, if there is one.
    fn failures_of(marker: &str, block: &str, limits: &Limits) -> Option<Vec<String>> {
        let text = format!("{marker}\n```console\n{block}\n```\n");
        let page = Page::parse("page.md", &text).unwrap();
        let [section] = &page.sections[..] else {
            panic!("{page:?}");
        };
        Some(run(section, Namespaces::find()?, limits))
    }

    #[track_caller]
    fn assert_as_shown(block: &str) {
        if let Some(failures) = failures_of("", block, &LIMITS) {
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
    }

    #[track_caller]
    fn assert_fails(block: &str, expected: &[&str]) {
        assert_fails_within(&LIMITS, block, expected);
    }

    #[track_caller]
    fn assert_fails_within(limits: &Limits, block: &str, expected: &[&str]) {
        if let Some(failures) = failures_of("", block, limits) {
            assert_eq!(failures, expected);
        }
    }

    #[test]
    fn the_commands_of_a_section_share_a_shell() {
        assert_as_shown(
            "$ a=1; cd /; f() { echo $a $PWD; }\n$ f\n1 /\n$ (exit 3)\n…\n$ echo $?\n3\n\
             $ echo $?\n0\n$ for x in 1 2; do\n>   echo $x\n> done\n1\n2\n$ # a comment",
        );
    }

    #[test]
    fn both_streams_are_read_in_order() {
        assert_as_shown("$ echo a; echo b >&2; echo c; printf d\na\nb\nc\nd\n$ echo e >&2\ne");
    }

    #[test]
    fn commands_do_not_read_each_other() {
        assert_as_shown("$ cat\n$ wc -c\n0\n$ exec > /dev/null\n$ echo a");
    }

    #[test]
    fn the_built_programs_run_in_the_checkout() {
        assert_as_shown(
            "$ server -q &\nServer listening on 127.0.0.1:12345\n\
             $ seq 2 | client > out\n$ cat out\nServer: Server received your message: 1\n…\n\
             $ head -n 2 Cargo.toml | tail -n 1\nname = \"tcp-chat\"\n$ test -d src/bin\n\
             $ echo ${RUST_LOG-unset}\nunset",
        );
    }

    #[test]
    fn sections_do_not_meet() {
        let block = "$ touch new\n$ server -q &\nServer listening on 127.0.0.1:12345\n\
                     $ echo a | client\nServer: Server received your message: a";
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_as_shown(block));
            }
        });
        assert!(!PathBuf::from(crate::ROOT).join("new").exists());
    }

    #[test]
    fn nothing_is_left_of_a_section() {
        let Some(namespaces) = Namespaces::find() else {
            return;
        };
        let begun = Instant::now();
        let mut shell = Shell::start(namespaces, Duration::from_secs(20));
        let folder = shell.folder().to_path_buf();
        let outcome = shell.run("(trap '' TERM HUP; sleep 100) & setsid sleep 100 & touch new");
        assert_eq!(outcome.end, End::Status(0));
        assert!(folder.join("checkout/new").exists());
        shell.finish();
        assert!(!folder.exists());
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn wrong_output_fails() {
        assert_fails(
            "$ echo a; false\nb",
            &["3: echo a; false\nexit status 1\nexpected:\nb\nactual:\na\n"],
        );
    }

    #[test]
    fn the_commands_after_a_failure_are_run() {
        assert_fails(
            "$ echo a\nb\n$ echo c\nd\n$ echo e\ne",
            &[
                "3: echo a\nexit status 0\nexpected:\nb\nactual:\na\n",
                "5: echo c\nexit status 0\nexpected:\nd\nactual:\nc\n",
            ],
        );
    }

    #[test]
    fn output_that_is_not_shown_fails() {
        let why = "expected: no output, and exit status 0\nactual:\n";
        assert_fails(
            "$ echo a",
            &[&format!("3: echo a\nexit status 0\n{why}a\n")],
        );
        assert_fails("$ echo", &[&format!("3: echo\nexit status 0\n{why}\n")]);
        let background = "(sleep 0.02; echo a) &";
        let limits = Limits {
            silence: Duration::from_secs(2),
            ..LIMITS
        };
        assert_fails_within(
            &limits,
            &format!("$ {background}"),
            &[&format!("3: {background}\nexit status 0\n{why}a\n")],
        );
    }

    #[test]
    fn a_failure_that_is_not_shown_fails() {
        let why = "expected: no output, and exit status 0\nactual:\n";
        assert_fails("$ false", &[&format!("3: false\nexit status 1\n{why}")]);
    }

    #[test]
    fn a_command_that_hangs_fails() {
        let begun = Instant::now();
        let limits = Limits {
            section: Duration::from_secs(3),
            ..LIMITS
        };
        assert_fails_within(
            &limits,
            "$ echo a; sleep 100\na\n$ echo b",
            &[
                "3: echo a; sleep 100\nit still runs at the end of its section's time\n\
               expected:\na\nactual:\na\n",
            ],
        );
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_command_that_ends_the_shell_fails() {
        let why = "it ended the shell\nexpected:\na\nactual:\na\n";
        assert_fails(
            "$ echo a; exit 0\na",
            &[&format!("3: echo a; exit 0\n{why}")],
        );
    }

    #[test]
    fn a_command_that_prints_without_end_fails() {
        let failures = failures_of("", "$ yes\n…", &LIMITS);
        if let Some(failures) = failures {
            assert!(failures[0].starts_with("3: yes\nit prints too much\n"));
            assert_eq!(failures.len(), 1);
        }
    }

    #[test]
    fn a_command_in_the_background_has_time_to_print() {
        assert_as_shown("$ (sleep 0.1; echo a; sleep 0.1; echo b) &\na\nb");
        let limits = Limits {
            background: Duration::from_millis(200),
            ..LIMITS
        };
        assert_fails_within(
            &limits,
            "$ (sleep 100; echo a) &\na",
            &["3: (sleep 100; echo a) &\nexit status 0\nexpected:\na\nactual:\n"],
        );
    }

    #[test]
    fn only_marked_figures_may_differ() {
        assert_fails(
            "$ echo 1 s\n2 s",
            &["3: echo 1 s\nexit status 0\nexpected:\n2 s\nactual:\n1 s\n"],
        );
        let marker = "<!-- figures differ -->";
        let block = "$ echo 1.5 s, 0 wrong\n2 s, 0 wrong\n$ echo 3 wrong\n0 wrong";
        if let Some(failures) = failures_of(marker, block, &LIMITS) {
            let why = "(any number for a number, but 0 for 0)\nactual:\n3 wrong\n";
            let expected = format!("5: echo 3 wrong\nexit status 0\nexpected:\n0 wrong\n{why}");
            assert_eq!(failures, [expected]);
        }
    }
}
