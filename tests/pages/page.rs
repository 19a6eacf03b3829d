//! The reader of a page: sections, their commands with the shown output, and markers.

use std::mem;

/// A page, without all that is not run.
#[derive(Debug)]
pub struct Page {
    /// Its path in the checkout.
    pub name: String,
    /// The sections that have at least one command to run.
    pub sections: Vec<Section>,
    pub not_run: Vec<NotRun>,
}

/// The text from one heading to the next.
#[derive(Debug, Default)]
pub struct Section {
    /// The programs that it needs.
    pub needs: Vec<String>,
    pub commands: Vec<ShownCommand>,
}

/// A command, and the output that the page shows for it.
#[derive(Debug, PartialEq)]
pub struct ShownCommand {
    /// The number of its first line on the page.
    pub line: usize,
    pub command: String,
    pub output: Vec<String>,
    /// Whether a number in the output stands for any number.
    pub figures_differ: bool,
}

/// A block that is marked as not run.
#[derive(Debug, PartialEq)]
pub struct NotRun {
    pub line: usize,
    pub why: String,
}

/// The markers before a block.
#[derive(Default)]
struct Markers {
    /// The line of the last of them; 0 if there is none.
    line: usize,
    /// The line of the last comment that is no marker; 0 if there is none.
    other_line: usize,
    figures_differ: bool,
    needs: Vec<String>,
    not_run: Option<String>,
}

/// A fenced block that the reader is in.
struct Fence {
    /// The line of its opening fence.
    line: usize,
    /// The opening fence: three or more backticks or tildes.
    fence: String,
    /// How many spaces are before the opening fence, for example in a list.
    indentation: usize,
    /// Whether its language is `console`.
    is_console: bool,
    /// Its lines, each with its number on the page.
    content: Vec<(usize, String)>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// A block that does not end, a marker before something else than a `console` block,
    /// a comment before such a block that is no marker, and a `console` block that does
    /// not begin with a command.
    pub fn parse(name: &str, text: &str) -> Result<Page, String> {
        let mut page = Page {
            name: name.to_string(),
            sections: Vec::new(),
            not_run: Vec::new(),
        };
        let mut section = Section::default();
        let mut markers = Markers::default();
        let mut fence: Option<Fence> = None;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(mut open) = fence.take() {
                if !open.is_closed_by(line) {
                    open.content.push((number, open.without_indentation(line)));
                    fence = Some(open);
                } else if open.is_console {
                    page.add_block(&mut section, open, mem::take(&mut markers))?;
                }
                continue;
            }
            let trimmed = line.trim();
            if trimmed.is_empty() {
                continue;
            }
            if let Some(comment) = comment(trimmed) {
                markers.add(number, comment);
                continue;
            }
            fence = Fence::opened_by(number, line);
            if fence.as_ref().is_some_and(|fence| fence.is_console) {
                markers.require_known(name)?;
            } else {
                markers.require_none(name)?;
                markers = Markers::default();
            }
            if fence.is_none() && is_heading(line) {
                page.add_section(mem::take(&mut section));
            }
        }
        if let Some(open) = fence {
            return Err(format!("{name}:{}: the block does not end", open.line));
        }
        markers.require_none(name)?;
        page.add_section(section);
        Ok(page)
    }

    pub fn count_commands(&self) -> usize {
        let counts = self.sections.iter().map(|section| section.commands.len());
        counts.sum()
    }

    fn add_section(&mut self, section: Section) {
        if !section.commands.is_empty() {
            self.sections.push(section);
        }
    }

    fn add_block(
        &mut self,
        section: &mut Section,
        block: Fence,
        markers: Markers,
    ) -> Result<(), String> {
        let line = block.line;
        let commands = read_commands(block, markers.figures_differ);
        let commands = commands.map_err(|why| format!("{}:{line}: {why}", self.name))?;
        match markers.not_run {
            Some(why) => self.not_run.push(NotRun { line, why }),
            None => {
                section.needs.extend(markers.needs);
                section.commands.extend(commands);
            }
        }
        Ok(())
    }
}

impl Markers {
    /// Adds the marker in a comment. Other comments are no markers.
    fn add(&mut self, line: usize, comment: &str) {
        if comment == "figures differ" {
            self.figures_differ = true;
        } else if let Some(programs) = comment.strip_prefix("needs:") {
            let programs = programs
                .split(',')
                .map(|program| program.trim().to_string());
            self.needs.extend(programs);
        } else if let Some(why) = comment.strip_prefix("not run:") {
            self.not_run = Some(why.trim().to_string());
        } else {
            self.other_line = line;
            return;
        }
        self.line = line;
    }

    /// Refuses other comments before a `console` block: they may be misspelled markers.
    fn require_known(&self, page: &str) -> Result<(), String> {
        match self.other_line {
            0 => Ok(()),
            line => Err(format!("{page}:{line}: the comment is no marker")),
        }
    }

    /// Refuses markers before anything but a `console` block.
    fn require_none(&self, page: &str) -> Result<(), String> {
        match self.line {
            0 => Ok(()),
            line => Err(format!(
                "{page}:{line}: no `console` block after the marker"
            )),
        }
    }
}

impl Fence {
    /// Returns the block that this line opens.
    fn opened_by(number: usize, line: &str) -> Option<Fence> {
        let trimmed = line.trim_start();
        let character = trimmed.chars().next()?;
        let after = trimmed.trim_start_matches(character);
        let fence = &trimmed[..trimmed.len() - after.len()];
        if !matches!(character, '`' | '~') || fence.len() < 3 {
            return None;
        }
        // Code within a line, as ```this```, is no fence.
        if character == '`' && after.contains('`') {
            return None;
        }
        Some(Fence {
            line: number,
            fence: fence.to_string(),
            indentation: line.len() - trimmed.len(),
            is_console: after.split_whitespace().next() == Some("console"),
            content: Vec::new(),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        let character = &self.fence[..1];
        line.starts_with(&self.fence) && line.replace(character, "").is_empty()
    }

    /// Returns a line of the block without the spaces that the fence has before it, too.
    fn without_indentation(&self, line: &str) -> String {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        line[spaces.min(self.indentation)..].to_string()
    }
}

/// Returns the text of a comment that fills the line.
fn comment(line: &str) -> Option<&str> {
    let comment = line.strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(comment.trim())
}

fn is_heading(line: &str) -> bool {
    let after = line.trim_start_matches('#');
    let level = line.len() - after.len();
    (1..=6).contains(&level) && after.starts_with(' ')
}

/// Returns the commands of a block, with their output.
fn read_commands(block: Fence, figures_differ: bool) -> Result<Vec<ShownCommand>, &'static str> {
    let mut commands: Vec<ShownCommand> = Vec::new();
    for (line, text) in block.content {
        if let Some(command) = text.strip_prefix("$ ") {
            if let Some(last) = commands.last_mut() {
                trim_output(&mut last.output);
                remove_comments(&mut last.output);
            }
            commands.push(ShownCommand {
                line,
                command: command.to_string(),
                output: Vec::new(),
                figures_differ,
            });
            continue;
        }
        let Some(last) = commands.last_mut() else {
            if text.is_empty() || text.starts_with("# ") {
                continue;
            }
            return Err("the block does not begin with a command (`$ …`)");
        };
        match text.strip_prefix("> ") {
            Some(continuation) if last.output.is_empty() => {
                last.command.push('\n');
                last.command.push_str(continuation);
            }
            _ => last.output.push(text),
        }
    }
    match commands.last_mut() {
        Some(last) => trim_output(&mut last.output),
        None => return Err("the block has no command (`$ …`)"),
    }
    Ok(commands)
}

/// Removes the blank lines at the end, which keep commands apart.
fn trim_output(output: &mut Vec<String>) {
    while output.last().is_some_and(|line| line.trim().is_empty()) {
        output.pop();
    }
}

/// Removes the lines at the end that begin with `# `: they are about the next command.
fn remove_comments(output: &mut Vec<String>) {
    while output.last().is_some_and(|line| line.starts_with("# ")) {
        output.pop();
        trim_output(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all commands of a page, whatever their section.
    fn commands(text: &str) -> Vec<ShownCommand> {
        let page = Page::parse("page.md", text).unwrap();
        let sections = page.sections.into_iter();
        sections.flat_map(|section| section.commands).collect()
    }

    #[track_caller]
    fn assert_refused(text: &str, why: &str) {
        assert_eq!(Page::parse("page.md", text).unwrap_err(), why);
    }

    #[test]
    fn a_heading_begins_a_section() {
        let text = "```console\n$ a\n```\n# One\n```console\n$ b\n# no heading\n```\ntext\n\
                    ```console\n$ c\n```\n### Two\n#nothing\n```sh\n$ d\n```\n## Three\n\
                    ~~~ console\n$ e\n~~~\n";
        let page = Page::parse("page.md", text).unwrap();
        let sections: Vec<Vec<&str>> = page
            .sections
            .iter()
            .map(|section| section.commands.iter().map(|of| &*of.command).collect())
            .collect();
        assert_eq!(sections, [vec!["a"], vec!["b", "c"], vec!["e"]]);
        assert_eq!(page.count_commands(), 4);
    }

    #[test]
    fn a_command_has_the_lines_up_to_the_next_as_its_output() {
        let text = "text\n\n```console\n$ seq 2 |\n> cat\n1\n> 2\n\n$ true\n```\n";
        let first = ShownCommand {
            line: 4,
            command: "seq 2 |\ncat".to_string(),
            output: vec!["1".to_string(), "> 2".to_string()],
            figures_differ: false,
        };
        let second = ShownCommand {
            line: 9,
            command: "true".to_string(),
            output: Vec::new(),
            figures_differ: false,
        };
        assert_eq!(commands(text), [first, second]);
    }

    #[test]
    fn a_comment_before_a_command_is_no_output() {
        let text = "```console\n# Why?\n$ a\n# HELP x\nx 1\n\n# And\n# how?\n$ b\n# TYPE y\n```\n";
        let commands = commands(text);
        assert_eq!(commands[0].output, ["# HELP x", "x 1"]);
        assert_eq!(commands[1].output, ["# TYPE y"]);
    }

    #[test]
    fn a_block_in_a_list_is_indented() {
        let text = "- text\n\n  ````console\n  $ a\n    b\n  ```\n  ````\n";
        assert_eq!(commands(text)[0].output, ["  b", "```"]);
    }

    #[test]
    fn markers_are_for_the_next_block() {
        let text = "<!-- needs: jq, nginx -->\n<!-- figures differ -->\n\n```console\n$ a\n```\n\
                    <!-- needs: nc -->\n```console\n$ b\n```\n\
                    <!-- not run: needs internet -->\n```console\n$ c\n```\n";
        let page = Page::parse("page.md", text).unwrap();
        let [section] = &page.sections[..] else {
            panic!("{page:?}");
        };
        assert_eq!(section.needs, ["jq", "nginx", "nc"]);
        assert_eq!(section.commands.len(), 2);
        assert!(section.commands[0].figures_differ);
        assert!(!section.commands[1].figures_differ);
        let not_run = NotRun {
            line: 12,
            why: "needs internet".to_string(),
        };
        assert_eq!(page.not_run, [not_run]);
    }

    #[test]
    fn mistakes_are_noticed() {
        let why = "page.md:1: no `console` block after the marker";
        assert_refused("<!-- figures differ -->\n", why);
        assert_refused("<!-- not run: slow -->\n```text\n```\n", why);
        let why = "page.md:2: no `console` block after the marker";
        assert_refused("\n<!-- needs: jq -->\ntext\n```console\n$ a\n```\n", why);
        let why = "page.md:1: the comment is no marker";
        assert_refused("<!-- needs jq -->\n```console\n$ a\n```\n", why);
        let text = "<!-- any -->\ntext\n```console\n$ a\n```\n";
        assert_eq!(commands(text).len(), 1);
        assert_refused("\n```console\n$ a\n", "page.md:2: the block does not end");
        let why = "page.md:1: the block does not begin with a command (`$ …`)";
        assert_refused("```console\nclient\n```\n", why);
        let why = "page.md:1: the block has no command (`$ …`)";
        assert_refused("```console\n# client\n```\n", why);
    }
}
