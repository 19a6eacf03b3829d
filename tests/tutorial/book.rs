//! The book keeps its promises: its tests, files, links and numbers are right.
//!
//! Its files are in `src/book`. GitHub shows them as they are, and `src/book.rs` includes
//! them for rustdoc.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::cases::CASES;
use crate::headings;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CHAPTERS: [&str; 7] = [
    "framing.md",
    "closing.md",
    "peers.md",
    "limits.md",
    "restarts.md",
    "measuring.md",
    "deployment.md",
];
const GUARANTEES: &str = "guarantees.md";
const INDEX: &str = "README.md";

/// The longest name of a test that the book asks a person to type.
const LONGEST_TYPED: usize = 60;

/// A file of the book.
struct Page {
    name: &'static str,
    text: String,
}

/// The definition of a reference link.
struct Link {
    label: String,
    target: String,
}

impl Page {
    fn open(name: &'static str) -> Self {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        Page { name, text }
    }

    /// The lines of all fenced blocks of a language.
    fn block_lines(&self, language: &str) -> Vec<&str> {
        let begin = format!("```{language}");
        let mut is_in_block = false;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                is_in_block = line == begin;
            } else if is_in_block {
                lines.push(line);
            }
        }
        lines
    }

    /// The lines outside of fenced blocks.
    fn prose(&self) -> Vec<&str> {
        let mut is_in_block = false;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                is_in_block = !is_in_block;
            } else if !is_in_block {
                lines.push(line);
            }
        }
        lines
    }

    /// The headings of the second level.
    fn entries(&self) -> Vec<&str> {
        let lines = self.prose().into_iter();
        lines.filter_map(|line| line.strip_prefix("## ")).collect()
    }

    /// The links that the page defines at its end.
    fn links(&self) -> Vec<Link> {
        self.prose().into_iter().filter_map(definition).collect()
    }

    /// The text of the page in one line, without its definitions.
    fn body(&self) -> String {
        let lines = self.prose().into_iter();
        let body: Vec<&str> = lines.filter(|line| definition(line).is_none()).collect();
        body.join(" ")
    }
}

fn folder() -> PathBuf {
    Path::new(ROOT).join("src/book")
}

fn chapters() -> [Page; 7] {
    CHAPTERS.map(Page::open)
}

/// All pages of the book.
fn pages() -> Vec<Page> {
    let mut pages = vec![Page::open(INDEX), Page::open(GUARANTEES)];
    pages.extend(chapters());
    pages
}

/// The reference link that a line of Markdown defines, if it does.
fn definition(line: &str) -> Option<Link> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    if target.contains(' ') {
        return None;
    }
    Some(Link {
        label: label.to_string(),
        target: target.to_string(),
    })
}

/// The path without its `..` components.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = normalized.pop(),
            other => normalized.push(other),
        }
    }
    normalized
}

/// A place that a link leads to: a file, and in a page of the book a heading's anchor.
#[derive(Debug, PartialEq)]
struct Place {
    file: PathBuf,
    anchor: Option<String>,
}

impl Place {
    /// Where GitHub finds the target of a link in the book.
    fn on_github(target: &str) -> Self {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_string())),
            None => (target, None),
        };
        let file = match path {
            "" => folder().join(INDEX),
            _ => normalized(&folder().join(path)),
        };
        Place { file, anchor }
    }

    /// Whether this is a heading of that page.
    fn is_heading_of(&self, page: &Page) -> bool {
        let Some(anchor) = &self.anchor else {
            return true;
        };
        let entries = page.entries();
        entries
            .iter()
            .any(|entry| headings::anchor(entry) == *anchor)
    }
}

/// Checks that a link for rustdoc, from a page in this folder below `tcp_chat`, leads where
/// the link for GitHub leads.
fn check_rustdoc_link(from: &str, link: &Link, github: &Place) {
    let Link { label, target } = link;
    let why = format!("{label} leads elsewhere in src/book.rs: {target}");
    // rustdoc itself checks that such an item exists.
    if let Some(item) = target.strip_prefix("crate::") {
        let module = item.split("::").next().unwrap();
        let modules = [format!("src/{module}.rs"), format!("src/{module}/unix.rs")];
        let is_there = |file: &String| github.file == Path::new(ROOT).join(file);
        assert!(modules.iter().any(is_there), "{why}");
        return;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_string())),
        None => (&**target, None),
    };
    let page = normalized(&Path::new(from).join(path));
    let page = page.to_str().unwrap().replace('\\', "/");
    let file = if let Some(source) = page.strip_prefix("src/") {
        let source = source.strip_suffix(".html").expect(&why);
        match source.strip_prefix("tcp_chat/") {
            Some(of_library) => format!("src/{of_library}"),
            None => format!("src/bin/{source}"),
        }
    } else if let "client/index.html" | "server/index.html" = &*page {
        // The documentation of a program is its manual.
        format!("src/bin/{}", page.replace("index.html", "README.md"))
    } else {
        let page = page.strip_prefix("tcp_chat/book").expect(&why);
        match page.trim_start_matches('/').trim_end_matches("index.html") {
            "" => format!("src/book/{INDEX}"),
            chapter => format!("src/book/{}.md", chapter.trim_end_matches('/')),
        }
    };
    let place = Place {
        file: Path::new(ROOT).join(file),
        anchor,
    };
    // rustdoc shows no source of a test. The index has these programs, or is about them.
    if github.file.starts_with(Path::new(ROOT).join("tests")) {
        assert_eq!(place.file, folder().join(INDEX), "{why}");
        assert!(place.is_heading_of(&Page::open(INDEX)), "{why}");
        return;
    }
    assert_eq!(place, *github, "{why}");
}

#[test]
fn the_book_links_to_the_same_places_on_github_and_in_rustdoc() {
    let source = fs::read_to_string(Path::new(ROOT).join("src/book.rs")).unwrap();
    let (of_index, of_chapters) = source.split_once("macro_rules! links").unwrap();
    let mut checked = 0;
    for page in pages() {
        let name = page.name;
        let (from, rustdoc) = match name {
            INDEX => ("tcp_chat/book", of_index),
            chapter => {
                let module = chapter.trim_end_matches(".md");
                let included = format!(
                    "#[doc = links!()]\n#[doc = include_str!(\"book/{chapter}\")]\npub mod {module} "
                );
                assert!(source.contains(&included), "src/book.rs: {included}");
                ("tcp_chat/book/chapter", of_chapters)
            }
        };
        let rustdoc: Vec<Link> = rustdoc.lines().filter_map(definition).collect();
        let body = page.body();
        for link in page.links() {
            let label = &link.label;
            assert!(
                body.contains(&format!("[{label}]")),
                "{name}: {label}: no use"
            );
            let github = Place::on_github(&link.target);
            assert!(github.file.is_file(), "{name}: {label}: {}", link.target);
            if let Some(other) = pages()
                .iter()
                .find(|other| github.file == folder().join(other.name))
            {
                assert!(github.is_heading_of(other), "{name}: {}", link.target);
            }
            let in_rustdoc = rustdoc.iter().find(|other| other.label == *label);
            let why = format!("src/book.rs does not define {label} of {name}");
            check_rustdoc_link(from, in_rustdoc.expect(&why), &github);
            checked += 1;
        }
        // Rustdoc warns about a reference to code without a definition, but knows more
        // definitions than GitHub.
        let links = page.links();
        for after in body.split("[`").skip(1) {
            let label = format!("`{}", after.split(']').next().unwrap());
            let is_defined = links.iter().any(|link| link.label == label);
            assert!(is_defined, "{name} does not define {label}");
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn the_book_has_all_its_chapters_and_entries_in_its_index() {
    let index = Page::open(INDEX);
    let targets: Vec<String> = index.links().into_iter().map(|link| link.target).collect();
    let files = fs::read_dir(folder()).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let is_page = pages().iter().any(|page| page.name == name);
        assert!(is_page, "{name} is no page of the book");
        assert!(name == INDEX || targets.contains(&name), "{name}");
    }
    for chapter in chapters() {
        for entry in chapter.entries() {
            let target = format!("{}#{}", chapter.name, headings::anchor(entry));
            assert!(targets.contains(&target), "{INDEX} does not list {target}");
        }
    }
}

#[test]
fn the_book_has_the_same_four_parts_in_each_entry() {
    for chapter in chapters() {
        let name = chapter.name;
        assert!(!chapter.entries().is_empty(), "{name}");
        let texts = chapter.text.split("\n## ").skip(1);
        for (entry, text) in chapter.entries().into_iter().zip(texts) {
            let mut rest = text;
            for part in ["**You see**", "**Why**", "**Here**", "**Run**"] {
                let part = format!("\n{part}");
                let Some((_, after)) = rest.split_once(&part) else {
                    panic!("{name}: {entry}: no {part}, or not in this place");
                };
                rest = after;
            }
            assert!(rest.contains("cargo test "), "{name}: {entry}: no command");
        }
    }
}

#[test]
fn the_book_has_the_entry_of_each_case_of_the_judge() {
    let mut pages = pages();
    // A case may be about the tutorial itself.
    pages.retain(|page| page.name != GUARANTEES);
    for case in CASES {
        let has_entry = |page: &Page| page.entries().contains(&case.entry);
        assert!(pages.iter().any(has_entry), "{}: {}", case.name, case.entry);
    }
}

#[test]
fn the_book_shows_the_tutorials_programs_as_they_are() {
    let index = Page::open(INDEX);
    for program in ["naive.rs", "repaired.rs"] {
        let path = Path::new(ROOT).join("tests/tutorial").join(program);
        let source = fs::read_to_string(path).unwrap();
        let fence = format!("\n```rust,no_run\n{source}```\n");
        assert!(
            index.text.contains(&fence),
            "{INDEX} shows another {program}"
        );
    }
    let has_hidden_line = |line: &&str| *line == "#" || line.starts_with("# ");
    for page in pages() {
        for language in ["rust", "rust,no_run"] {
            let lines = page.block_lines(language);
            let hidden = lines.iter().find(|line| has_hidden_line(line));
            assert_eq!(hidden, None, "{}: GitHub shows this line", page.name);
        }
    }
}

#[test]
fn the_book_shows_parts_of_the_complete_server_as_they_are() {
    let path = Path::new(ROOT).join("tests/tutorial/complete.py");
    let source = fs::read_to_string(path).unwrap();
    for (page, function) in [
        ("peers.md", "read_line"),
        ("closing.md", "close_with"),
        ("restarts.md", "stop"),
        ("deployment.md", "log"),
    ] {
        let page = Page::open(page);
        let (_, shown) = page.text.split_once("```python\ndef ").unwrap();
        let (shown, _) = shown.split_once("```").unwrap();
        assert!(shown.starts_with(function), "{}: {shown}", page.name);
        assert!(source.contains(shown), "complete.py lacks: {shown}");
    }
}

/// The names of the tests in a folder and below.
fn tests(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(tests(&path));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        for after in source.split("#[test]").skip(1) {
            let mut lines = after.lines().skip(1).map(str::trim_start);
            let Some(signature) = lines.find(|line| !line.starts_with("#[")) else {
                continue;
            };
            if let Some((name, _)) = signature
                .strip_prefix("fn ")
                .and_then(|rest| rest.split_once('('))
            {
                names.push(name.to_string());
            }
        }
    }
    names
}

#[test]
fn the_book_names_each_tutorial_test_and_nothing_that_is_missing() {
    let of_the_tutorial = tests(&Path::new(ROOT).join("tests/tutorial"));
    let targets = [
        ("--test tutorial -- --nocapture ", &of_the_tutorial),
        ("--test tutorial ", &vec!["yours".to_string()]),
        (
            "--test it -- --nocapture ",
            &tests(&Path::new(ROOT).join("tests/it")),
        ),
        (
            "--lib -- --nocapture ",
            &tests(&Path::new(ROOT).join("src")),
        ),
    ];
    let mut named = Vec::new();
    for page in pages() {
        let why = format!("{} has a command that is no test", page.name);
        for line in page.block_lines("text") {
            let Some((_, command)) = line.split_once("cargo test ") else {
                continue;
            };
            let target = targets.iter().find_map(|(target, names)| {
                let name = command.strip_prefix(target)?;
                Some((name, names))
            });
            let (name, names) = target.unwrap_or_else(|| panic!("{why}: {line}"));
            assert!(names.iter().any(|test| test == name), "{why}: {line}");
            assert!(name.len() <= LONGEST_TYPED, "too long to type: {name}");
            named.push(name.to_string());
        }
    }
    for test in &of_the_tutorial {
        let is_about_the_book = test.starts_with("the_book_");
        assert!(is_about_the_book || named.contains(test), "{test}");
    }
    assert!(named.len() > 50, "{}", named.len());
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

/// Checks a number of lines that the book says, to a quarter.
fn check_lines(row: &str, said: usize, counted: usize) {
    println!("{counted} lines: {row}");
    assert!(said.abs_diff(counted) * 4 <= counted, "{row}: {counted}");
}

#[test]
fn the_book_counts_the_lines_of_each_promise_to_a_quarter() {
    let page = Page::open(GUARANTEES);
    let links = page.links();
    let file_of = |label: &str| {
        let link = links.iter().find(|link| link.label == label);
        let link = link.unwrap_or_else(|| panic!("{label} has no link"));
        Place::on_github(&link.target).file
    };
    let mut promises = 0;
    let mut sum_said = 0;
    for row in page.text.lines().filter(|line| line.starts_with("| ")) {
        let [_, promise, names, said, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        if promise.trim() == "**sum**" {
            assert_eq!(said.trim(), format!("**{sum_said}**"));
            continue;
        }
        let Ok(said) = said.trim().parse::<usize>() else {
            continue;
        };
        let mut counted = 0;
        for name in names.split('`').skip(1).step_by(2) {
            counted += lines_of_code(&file_of(&format!("`{name}`")));
        }
        check_lines(row, said, counted);
        sum_said += said;
        promises += 1;
    }
    assert!(promises > 10);

    let naive = lines_of_code(&Path::new(ROOT).join("tests/tutorial/naive.rs"));
    assert!(page.text.contains(&format!("has {naive} lines")), "{naive}");
}
