//! What was heard of a guest, folded line by line into what it did.

use super::plan::Event;

/// How much of a step's standard error is kept to be shown when it fails.
const KEPT: usize = 400;

/// A guest as far as it has told.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// `uname -r`.
    pub(super) release: Option<String>,
    /// From the kernel's first moment to ours, milliseconds.
    pub(super) boot_ms: u64,
    pub(super) notes: Vec<String>,
    pub(super) steps: Vec<Ran>,
    /// Did it come to its end?
    pub(super) done: bool,
}

/// A step.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) out: String,
    /// The last lines.
    pub(super) err: Vec<String>,
    pub(super) end: Option<StepEnd>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepEnd {
    Ended {
        /// Absent: a signal ended it.
        code: Option<i32>,
        ms: u64,
        timed_out: bool,
    },
    Skipped {
        why: String,
    },
}

impl Heard {
    /// Takes a line in; gives the event, for those who show how it goes on.
    pub(super) fn line(&mut self, line: &str) -> Option<Event> {
        // Firmware may write to the port before the kernel does.
        let event: Event = serde_json::from_str(line).ok()?;
        match event.clone() {
            Event::Up { release, ms } => {
                self.release = Some(release);
                self.boot_ms = ms;
            }
            Event::Note { text } => self.notes.push(text),
            Event::Begin { step } => self.steps.push(Ran {
                name: step,
                ..Ran::default()
            }),
            Event::Out { step, text } => {
                let ran = self.step(step);
                ran.out.push_str(&text);
                ran.out.push('\n');
            }
            Event::Err { step, text } => {
                let ran = self.step(step);
                if ran.err.len() == KEPT {
                    ran.err.remove(0);
                }
                ran.err.push(text);
            }
            // For the transcript.
            Event::Kept { .. } => {}
            Event::End {
                step,
                code,
                ms,
                timed_out,
            } => {
                self.step(step).end = Some(StepEnd::Ended {
                    code,
                    ms,
                    timed_out,
                });
            }
            Event::Skip { step, why } => self.step(step).end = Some(StepEnd::Skipped { why }),
            Event::Done => self.done = true,
        }
        Some(event)
    }

    /// A step by its name.
    pub(super) fn find(&self, name: &str) -> Option<&Ran> {
        self.steps.iter().find(|ran| ran.name == name)
    }

    fn step(&mut self, name: String) -> &mut Ran {
        let known = self.steps.iter().position(|ran| ran.name == name);
        let at = known.unwrap_or_else(|| {
            self.steps.push(Ran {
                name,
                ..Ran::default()
            });
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded() {
        let mut heard = Heard::default();
        for line in [
            "SeaBIOS",
            r#"{"event":"up","release":"6.1.0","ms":3000}"#,
            r#"{"event":"begin","step":"a"}"#,
            r#"{"event":"out","step":"a","text":"{"}"#,
            r#"{"event":"out","step":"a","text":"}"}"#,
            r#"{"event":"err","step":"a","text":"oh"}"#,
            r#"{"event":"end","step":"a","code":0,"ms":7,"timed_out":false}"#,
            r#"{"event":"skip","step":"b","why":"no"}"#,
            r#"{"event":"unknown"}"#,
            r#"{"event":"don"#,
        ] {
            heard.line(line);
        }
        assert_eq!(heard.release.as_deref(), Some("6.1.0"));
        let a = heard.find("a").unwrap();
        assert_eq!(a.out, "{\n}\n");
        assert_eq!(a.err, ["oh"]);
        let end = StepEnd::Ended {
            code: Some(0),
            ms: 7,
            timed_out: false,
        };
        assert_eq!(a.end, Some(end));
        let skipped = StepEnd::Skipped { why: "no".into() };
        assert_eq!(heard.find("b").unwrap().end, Some(skipped));
        assert!(!heard.done);
        heard.line(r#"{"event":"done"}"#);
        assert!(heard.done);
    }
}
