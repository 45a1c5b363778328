//! Lines of bounded width, with colour if wanted.

use anstyle::{AnsiColor, Style as Ink};

use super::Style;

/// Narrower makes no table.
const WIDTH_MIN: usize = 60;

/// Text under construction.
#[derive(Debug)]
pub(in crate::report) struct Page {
    text: String,
    style: Style,
}

impl Page {
    pub(in crate::report) fn new(style: Style) -> Self {
        Self {
            text: String::new(),
            style,
        }
    }

    pub(in crate::report) fn width(&self) -> usize {
        self.style.width.max(WIDTH_MIN)
    }

    pub(in crate::report) fn finish(self) -> String {
        self.text
    }

    /// A blank line.
    pub(in crate::report) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line that leads.
    pub(in crate::report) fn heading(&mut self, text: &str) {
        for line in wrap(text, self.width(), "", "") {
            self.inked(&line, Ink::new().bold());
        }
    }

    /// A heading with a line drawn to the right edge.
    pub(in crate::report) fn rule(&mut self, text: &str) {
        let mut line = format!("── {text} ");
        let used = line.chars().count();
        line.extend(std::iter::repeat_n('─', self.width().saturating_sub(used)));
        let ink = Ink::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        for line in wrap(&line, self.width(), "", "") {
            self.inked(&line, ink);
        }
    }

    /// Wrapped text; lines after the first are indented as far as `lead` is wide.
    pub(in crate::report) fn paragraph(&mut self, lead: &str, text: &str) {
        self.coloured(lead, text, None);
    }

    /// A paragraph in a colour.
    pub(in crate::report) fn coloured(
        &mut self,
        lead: &str,
        text: &str,
        colour: Option<AnsiColor>,
    ) {
        let indent = " ".repeat(lead.chars().count());
        let ink = Ink::new().fg_color(colour.map(Into::into));
        for line in wrap(text, self.width(), lead, &indent) {
            self.inked(&line, ink);
        }
    }

    /// A line that is set already.
    pub(in crate::report) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn inked(&mut self, line: &str, ink: Ink) {
        if self.style.colour && ink != Ink::new() {
            let line = line.trim_end();
            self.text.push_str(&format!("{ink}{line}{ink:#}\n"));
        } else {
            self.line(line);
        }
    }
}

fn wrap(text: &str, width: usize, first: &str, rest: &str) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(rest)
        // A hyphen in a rule's name or an address is no place to break.
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(text, options)
        .into_iter()
        .map(|line| line.into_owned())
        .collect()
}
