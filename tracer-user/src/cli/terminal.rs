//! What the terminal can take.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::report::Style;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;
/// Text in longer lines is hard to read, however wide the window.
const WIDTH_MAX: usize = 120;
/// Below this, tables fall apart whatever we do.
const WIDTH_MIN: usize = 40;

/// How text is set on standard output.
pub fn style() -> Style {
    let out = std::io::stdout();
    Style {
        colour: colour(&out),
        width: width(&out),
    }
}

/// May colours be used on this stream? Only on a terminal, and not against `NO_COLOR`
/// (<https://no-color.org>: any value but the empty one) or on one that has none.
pub fn colour(stream: &impl IsTerminal) -> bool {
    colour_for(
        stream.is_terminal(),
        std::env::var_os("NO_COLOR").as_deref(),
        std::env::var_os("TERM").as_deref(),
    )
}

fn colour_for(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal
        && no_color.is_none_or(OsStr::is_empty)
        && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Columns of the stream's terminal, within what reads well.
pub fn width(stream: &impl AsFd) -> usize {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).clamp(WIDTH_MIN, WIDTH_MAX),
        _ => WIDTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_colours_are_used() {
        let table = [
            (true, None, Some("xterm"), true),
            (true, Some(""), Some("xterm"), true),
            (true, Some("1"), Some("xterm"), false),
            (true, Some("0"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (true, None, None, false),
            (false, None, Some("xterm"), false),
        ];
        for (terminal, no_color, term, expected) in table {
            assert_eq!(
                colour_for(terminal, no_color.map(OsStr::new), term.map(OsStr::new)),
                expected,
                "{terminal} {no_color:?} {term:?}"
            );
        }
    }

    #[test]
    fn no_terminal_has_the_usual_width() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(width(&file), WIDTH);
    }
}
