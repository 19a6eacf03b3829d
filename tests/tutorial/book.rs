//! What the book names is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cases::CASES;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The names of the tests in a folder and below.
fn tests(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(tests(&path));
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        let functions = source.split("#[test]").skip(1);
        let names_here = functions.filter_map(|after| {
            let mut lines = after.lines().skip(1).map(str::trim_start);
            lines
                .find(|line| !line.starts_with("#["))?
                .strip_prefix("fn ")
        });
        names.extend(names_here.filter_map(|name| Some(name.split_once('(')?.0.to_string())));
    }
    names
}

/// The source whose page among those of `cargo doc` this is.
fn source(page: &str) -> PathBuf {
    let file = page.trim_end_matches(".html");
    let file = match file.strip_prefix("tcp_chat/") {
        Some(of_library) => format!("src/{of_library}"),
        None => format!("src/bin/{file}"),
    };
    Path::new(ROOT).join(file)
}

#[test]
fn the_book_names_each_tutorial_test_and_nothing_that_is_missing() {
    let book = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let commands = book
        .lines()
        .filter_map(|line| line.strip_prefix("//! cargo test "));
    let commands: Vec<&str> = commands.filter(|line| !line.ends_with(" NAME")).collect();
    let of_the_tutorial = tests(&Path::new(ROOT).join("tests/tutorial"));
    let mut checked = 0;
    for (target, names) in [
        ("--test tutorial -- --nocapture", &of_the_tutorial),
        (
            "--test it -- --nocapture",
            &tests(&Path::new(ROOT).join("tests/it")),
        ),
        ("--lib -- --nocapture", &tests(&Path::new(ROOT).join("src"))),
    ] {
        let named = commands
            .iter()
            .filter_map(|command| command.strip_prefix(target));
        for name in named {
            let is_run = |test: &String| test.contains(name.trim());
            let why = "src/lib.rs names a test that is not there";
            assert!(names.iter().any(is_run), "{why}: {target}{name}");
            checked += 1;
        }
    }
    // Any other command would run a test without its output, or one of another target.
    let why = "src/lib.rs has a command of another form";
    assert_eq!(checked, commands.len(), "{why}");
    for test in of_the_tutorial
        .iter()
        .filter(|test| !test.starts_with("the_book_") && *test != "yours")
    {
        let command = format!("--test tutorial -- --nocapture {test}");
        assert!(commands.contains(&&*command), "{command}");
    }

    let links = book
        .lines()
        .filter_map(|line| line.split_once("]: ../src/"));
    let pages: Vec<&str> = links.map(|(_, page)| page).collect();
    for page in &pages {
        let path = source(page);
        let why = "src/lib.rs names a file that is not there";
        assert!(path.is_file(), "{why}: {}", path.display());
    }
    assert!(commands.len() > 50 && pages.len() > 10);
}

/// How many lines of code a file has, without blank lines, comments and tests.
fn lines_of_code(file: &Path) -> usize {
    let source = fs::read_to_string(file).unwrap();
    let code = source.split("\nmod tests {").next().unwrap();
    let lines = code.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

#[test]
fn the_book_counts_the_lines_of_each_promise_to_a_quarter() {
    let book = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let file_of = |name: &str| {
        let link = format!("//! [`{name}`]: ../src/");
        let file = book.lines().find_map(|line| line.strip_prefix(&link));
        source(file.unwrap_or_else(|| panic!("{name} has no link")))
    };
    let mut promises = 0;
    for row in book.lines().filter(|line| line.starts_with("//! | ")) {
        let [_, promise, names, said, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let Ok(said) = said.trim().parse::<usize>() else {
            continue;
        };
        let names = names.split('`').skip(1).step_by(2);
        let counted: usize = names.map(|name| lines_of_code(&file_of(name))).sum();
        println!("{promise}: {said}, and now {counted}");
        assert!(said.abs_diff(counted) * 4 <= counted, "{row}: {counted}");
        promises += 1;
    }
    assert!(promises > 10);
}

#[test]
fn the_book_has_the_entry_of_each_case_of_the_judge() {
    let book = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    for case in CASES {
        let is_entry = |line: &str| {
            line.trim_start_matches("//! ").trim_start_matches('#') == format!(" {}", case.entry)
        };
        assert!(book.lines().any(is_entry), "{}: {}", case.name, case.entry);
    }
}
