//! The text of one file as a tree of directives. Only those that bear on backends or logs are kept.

/// Deeper blocks are not looked into.
const DEPTH_MAX: usize = 32;
/// Most directives kept of one file.
const ITEMS_MAX: usize = 50_000;
/// Most words kept of one directive, and most bytes of a word.
const WORDS_MAX: usize = 64;
pub(super) const WORD_MAX: usize = 1024;

/// A part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A directive that is kept.
    Directive(Directive),
    /// Something stood here that could not be read: what is absent around it may stand there.
    Gap,
}

/// `name words… ;` or `name words… { block }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) words: Vec<String>,
    /// Number of the file, as the caller counts them.
    pub(super) file: usize,
    /// From 1.
    pub(super) line: u32,
    /// Empty for a directive without a block.
    pub(super) block: Vec<Item>,
}

/// Is this directive looked at by anybody? Of a block that is not, nothing is kept.
fn wanted(name: &str) -> bool {
    matches!(
        name,
        "http"
            | "server"
            | "location"
            | "if"
            | "limit_except"
            | "upstream"
            | "include"
            | "proxy_pass"
            | "proxy_set_header"
            | "proxy_connect_timeout"
            | "proxy_read_timeout"
            | "proxy_send_timeout"
            | "proxy_buffer_size"
            | "proxy_buffers"
            | "proxy_next_upstream"
            | "proxy_http_version"
            | "keepalive"
            | "keepalive_timeout"
            | "keepalive_requests"
            | "log_format"
            | "access_log"
            | "error_log"
    )
}

/// The tree, and the line and reason where reading broke off. What is open there gets a
/// [`Item::Gap`].
pub(super) fn parse(text: &[u8], file: usize) -> (Vec<Item>, Option<(u32, &'static str)>) {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
    };
    let mut open: Vec<Open> = vec![Open::default()];
    let mut kept = 0;
    let mut pending: Option<Directive> = None;
    let trouble = loop {
        let token = lexer.next();
        let trouble = match token {
            Token::Word(word) => {
                match &mut pending {
                    None => {
                        pending = Some(Directive {
                            name: word,
                            words: Vec::new(),
                            file,
                            line: lexer.line,
                            block: Vec::new(),
                        });
                    }
                    Some(directive) if directive.words.len() < WORDS_MAX => {
                        directive.words.push(word);
                    }
                    Some(_) => {}
                }
                continue;
            }
            Token::Semicolon => match pending.take() {
                Some(directive) => {
                    kept += usize::from(keep(&mut open, directive));
                    (kept > ITEMS_MAX).then_some("too many directives")
                }
                None => Some("a directive without a name"),
            },
            Token::Open => match pending.take() {
                // OpenResty's Lua has braces and quotes of its own.
                Some(directive) if directive.name.ends_with("_by_lua_block") => {
                    (!lexer.skip_lua()).then_some("the file ends within a Lua block")
                }
                Some(_) if open.len() > DEPTH_MAX => Some("blocks are nested too deeply"),
                Some(directive) => {
                    open.push(Open {
                        unwanted: open.last().is_some_and(|open| open.unwanted)
                            || !wanted(&directive.name),
                        directive: Some(directive),
                        items: Vec::new(),
                    });
                    None
                }
                None => Some("a block without a name"),
            },
            Token::Close if pending.is_some() => Some("a block ends within a directive"),
            Token::Close => match open.pop() {
                Some(Open {
                    directive: Some(mut directive),
                    items,
                    ..
                }) => {
                    directive.block = items;
                    kept += usize::from(keep(&mut open, directive));
                    (kept > ITEMS_MAX).then_some("too many directives")
                }
                other => {
                    open.extend(other);
                    Some("a block is closed that was never opened")
                }
            },
            Token::End if pending.is_some() => Some("the file ends within a directive"),
            Token::End if open.len() > 1 => Some("the file ends within a block"),
            Token::End => break None,
            Token::Broken => Some("the file ends within quotes"),
        };
        if let Some(reason) = trouble {
            break Some((lexer.line, reason));
        }
    };
    (close_all(open, trouble.is_some()), trouble)
}

/// A block that is not closed yet; the first is the file.
#[derive(Default)]
struct Open {
    directive: Option<Directive>,
    unwanted: bool,
    items: Vec<Item>,
}

/// Puts a directive into the innermost block, if anybody looks at it.
fn keep(open: &mut [Open], directive: Directive) -> bool {
    match open.last_mut() {
        Some(open) if !open.unwanted && wanted(&directive.name) => {
            open.items.push(Item::Directive(directive));
            true
        }
        _ => false,
    }
}

fn close_all(mut open: Vec<Open>, broken: bool) -> Vec<Item> {
    while let Some(mut innermost) = open.pop() {
        if broken {
            innermost.items.push(Item::Gap);
        }
        let Some(mut directive) = innermost.directive else {
            return innermost.items;
        };
        directive.block = innermost.items;
        keep(&mut open, directive);
    }
    Vec::new()
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
    /// A quote is never closed.
    Broken,
}

/// Words as `ngx_conf_read_token` makes them.
struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl Lexer<'_> {
    fn take(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Token {
        loop {
            let Some(byte) = self.take() else {
                return Token::End;
            };
            return match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                    continue;
                }
                b';' => Token::Semicolon,
                b'{' => Token::Open,
                b'}' => Token::Close,
                quote @ (b'"' | b'\'') => self.quoted(quote),
                first => self.bare(first),
            };
        }
    }

    fn quoted(&mut self, quote: u8) -> Token {
        let mut word = Vec::new();
        while let Some(byte) = self.take() {
            match byte {
                b'\\' => self.escaped(&mut word),
                byte if byte == quote => return finish(&word),
                byte => push(&mut word, byte),
            }
        }
        Token::Broken
    }

    fn bare(&mut self, first: u8) -> Token {
        let mut word = Vec::new();
        let mut byte = first;
        loop {
            match byte {
                b'\\' => self.escaped(&mut word),
                // `${name}` is a variable and no block.
                b'$' if self.peek() == Some(b'{') => {
                    self.at += 1;
                    push(&mut word, b'$');
                    push(&mut word, b'{');
                }
                byte => push(&mut word, byte),
            }
            match self.peek() {
                None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => return finish(&word),
                Some(_) => {}
            }
            match self.take() {
                Some(next) => byte = next,
                None => return finish(&word),
            }
        }
    }

    /// What follows a backslash. Before anything that needs no escape the backslash stays: regular
    /// expressions have many.
    fn escaped(&mut self, word: &mut Vec<u8>) {
        match self.take() {
            Some(byte @ (b'"' | b'\'' | b'\\')) => push(word, byte),
            Some(b't') => push(word, b'\t'),
            Some(b'r') => push(word, b'\r'),
            Some(b'n') => push(word, b'\n'),
            Some(byte) => {
                push(word, b'\\');
                push(word, byte);
            }
            None => push(word, b'\\'),
        }
    }

    /// Passes over Lua up to the brace that closes the block; false if there is none.
    fn skip_lua(&mut self) -> bool {
        let mut depth = 1;
        while let Some(byte) = self.take() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return true;
                    }
                }
                quote @ (b'"' | b'\'') => {
                    while let Some(byte) = self.take() {
                        match byte {
                            b'\\' => drop(self.take()),
                            byte if byte == quote => break,
                            _ => {}
                        }
                    }
                }
                b'-' if self.peek() == Some(b'-') => {
                    let block_comment = self.text[self.at..].starts_with(b"-[[");
                    let end: &[u8] = if block_comment { b"]]" } else { b"\n" };
                    while self.at < self.text.len() && !self.text[self.at..].starts_with(end) {
                        self.take();
                    }
                }
                b'[' if self.peek() == Some(b'[') => {
                    while self.at < self.text.len() && !self.text[self.at..].starts_with(b"]]") {
                        self.take();
                    }
                }
                _ => {}
            }
        }
        false
    }
}

fn push(word: &mut Vec<u8>, byte: u8) {
    if word.len() < WORD_MAX {
        word.push(byte);
    }
}

fn finish(word: &[u8]) -> Token {
    Token::Word(String::from_utf8_lossy(word).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in one line: `name words @line { … }`, `?` for a gap.
    fn show(items: &[Item]) -> String {
        let texts: Vec<String> = items
            .iter()
            .map(|item| match item {
                Item::Gap => "?".to_owned(),
                Item::Directive(d) => {
                    let mut text = format!("{}{:?}@{}", d.name, d.words, d.line);
                    if !d.block.is_empty() {
                        text += &format!("{{{}}}", show(&d.block));
                    }
                    text
                }
            })
            .collect();
        texts.join(" ")
    }

    #[test]
    fn trees() {
        for (text, want) in [
            ("", ""),
            (
                "http {\n  proxy_read_timeout 5s; # c; }\n}",
                r#"http[]@1{proxy_read_timeout["5s"]@2}"#,
            ),
            (
                "proxy_pass 'http://a b';keepalive \"3\\\"2\";",
                r#"proxy_pass["http://a b"]@1 keepalive["3\"2"]@1"#,
            ),
            (
                "proxy_pass http://${x}y;",
                r#"proxy_pass["http://${x}y"]@1"#,
            ),
            ("location ~ \\.php$ {}", r#"location["~", "\\.php$"]@1"#),
            // Nothing of a block that nobody looks at.
            (
                "stream { upstream a { server b; } } keepalive 1;",
                r#"keepalive["1"]@1"#,
            ),
            (
                "map $a $b { default 'x;{'; } keepalive 1;",
                r#"keepalive["1"]@1"#,
            ),
            (
                "http { content_by_lua_block { s = \"}\" -- it's }\n } keepalive 1; }",
                r#"http[]@1{keepalive["1"]@2}"#,
            ),
            ("a#b c; keepalive#x 1;", ""),
        ] {
            let (items, trouble) = parse(text.as_bytes(), 0);
            assert_eq!(show(&items), want, "{text}");
            assert_eq!(trouble, None, "{text}");
        }
    }

    #[test]
    fn what_is_broken_leaves_a_gap_in_every_open_block() {
        for (text, want) in [
            ("http { keepalive 1;", r#"http[]@1{keepalive["1"]@1 ?} ?"#),
            ("keepalive 1", "?"),
            ("keepalive 1; proxy_pass \"x", r#"keepalive["1"]@1 ?"#),
            ("keepalive 1; }", r#"keepalive["1"]@1 ?"#),
            ("http { keepalive }", "http[]@1{?} ?"),
            (";", "?"),
            ("{", "?"),
            ("a_by_lua_block { {", "?"),
        ] {
            let (items, trouble) = parse(text.as_bytes(), 0);
            assert_eq!(show(&items), want, "{text}");
            assert!(trouble.is_some(), "{text}");
        }
    }

    #[test]
    fn any_bytes_will_do() {
        let text = b"http { upstream \xff\xfe { server 1; } include \"\\";
        for end in 0..text.len() {
            for byte in [0, b'{', b'}', b'"', b'\\', b';', 0xff] {
                let mut text = text[..end].to_vec();
                text.push(byte);
                let _no_panic = parse(&text, 0);
            }
        }
        let deep = b"http{".repeat(100_000);
        assert_eq!(parse(&deep, 0).1.unwrap().1, "blocks are nested too deeply");
        let wide = b"keepalive 1;".repeat(ITEMS_MAX + 10);
        assert_eq!(parse(&wide, 0).1.unwrap().1, "too many directives");
        let long = [b"keepalive ".as_slice(), &b"9".repeat(1 << 20), b";"].concat();
        let (items, trouble) = parse(&long, 0);
        assert_eq!(trouble, None);
        assert!(show(&items).len() < 2 * WORD_MAX);
    }
}
