//! What the book names is there.

use std::fs;
use std::path::Path;

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
        let names_here = functions.filter_map(|after| after.trim_start().strip_prefix("fn "));
        names.extend(names_here.filter_map(|name| Some(name.split_once('(')?.0.to_string())));
    }
    names
}

#[test]
fn the_book_names_tests_and_files_that_are_there_and_each_test_of_the_tutorial() {
    let book = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let commands = book
        .lines()
        .filter_map(|line| line.strip_prefix("//! cargo test "));
    let commands: Vec<&str> = commands.filter(|line| !line.ends_with(" NAME")).collect();
    let of_the_tutorial = tests(&Path::new(ROOT).join("tests/tutorial"));
    for (target, names) in [
        ("--test tutorial -- --nocapture", &of_the_tutorial),
        ("--test it", &tests(&Path::new(ROOT).join("tests/it"))),
        ("--lib", &tests(&Path::new(ROOT).join("src"))),
    ] {
        let named = commands
            .iter()
            .filter_map(|command| command.strip_prefix(target));
        for name in named {
            let is_run = |test: &String| test.contains(name.trim());
            let why = "src/lib.rs names a test that is not there";
            assert!(names.iter().any(is_run), "{why}: {target}{name}");
        }
    }
    for test in of_the_tutorial
        .iter()
        .filter(|test| !test.starts_with("the_book_"))
    {
        let command = format!("--test tutorial -- --nocapture {test}");
        assert!(commands.contains(&&*command), "{command}");
    }

    let links = book
        .lines()
        .filter_map(|line| line.split_once("]: ../src/"));
    let files: Vec<&str> = links
        .filter_map(|(_, file)| file.strip_suffix(".html"))
        .collect();
    for file in &files {
        let source = match file.strip_prefix("tcp_chat/") {
            Some(of_library) => format!("src/{of_library}"),
            None => format!("src/bin/{file}"),
        };
        let path = Path::new(ROOT).join(source);
        let why = "src/lib.rs names a file that is not there";
        assert!(path.is_file(), "{why}: {}", path.display());
    }
    assert!(commands.len() > 50 && files.len() > 10);
}
