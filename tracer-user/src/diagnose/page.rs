//! What is written about a rule, in sections: `why502 explain` and docs/rules/ print the same.

use std::fmt::Write as _;

use super::{Advice, Rule, rules};

/// A part of a rule's page.
#[derive(Debug)]
pub struct Section {
    /// Its heading.
    pub heading: &'static str,
    /// What stands below it.
    pub body: Body,
}

/// What stands below a heading.
#[derive(Debug)]
pub enum Body {
    /// A paragraph.
    Text(&'static str),
    /// Points.
    Points(&'static [&'static str]),
    /// Neighbours, and what separates them.
    Neighbours(Vec<(&'static str, &'static str)>),
    /// Changes.
    Changes(Vec<&'static Advice>),
}

/// Whom a group of changes is for: the heading, and its targets.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "What to change: proxy",
        &["nginx", "haproxy", "envoy", "apache"],
    ),
    (
        "What to change: backend and network",
        &["backend", "network"],
    ),
    (
        "Managed balancers and appliances",
        &["alb", "nlb", "app-gateway", "front-door", "gcp", "big-ip"],
    ),
];

/// The sections of a rule's page. Empty ones are left out.
pub fn sections(rule: &'static Rule) -> Vec<Section> {
    let mut all = vec![
        Section {
            heading: "What you see, and the likely cause",
            body: Body::Text(rule.explanation),
        },
        Section {
            heading: "Evidence it needs",
            body: Body::Points(rule.evidence),
        },
        Section {
            heading: "How to confirm it by hand",
            body: Body::Points(rule.confirm),
        },
        Section {
            heading: "Often confused with",
            body: Body::Neighbours(
                rule.confused_with
                    .iter()
                    .map(|other| (other.with, other.difference))
                    .collect(),
            ),
        },
    ];
    all.extend(GROUPS.iter().map(|(heading, targets)| {
        Section {
            heading,
            body: Body::Changes(
                rule.remedies
                    .iter()
                    .filter(|advice| targets.contains(&advice.target))
                    .collect(),
            ),
        }
    }));
    all.retain(|section| match &section.body {
        Body::Text(text) => !text.is_empty(),
        Body::Points(points) => !points.is_empty(),
        Body::Neighbours(neighbours) => !neighbours.is_empty(),
        Body::Changes(changes) => !changes.is_empty(),
    });
    all
}

/// The rule's page in Markdown.
pub fn markdown(rule: &'static Rule) -> String {
    let mut page = format!("# {}\n\n{}.\n", rule.id, escaped(rule.title));
    for section in sections(rule) {
        let _ = write!(page, "\n## {}\n\n", section.heading);
        match section.body {
            Body::Text(text) => {
                let _ = writeln!(page, "{}", escaped(text));
            }
            Body::Points(points) => {
                for point in points {
                    let _ = writeln!(page, "- {}", escaped(point));
                }
            }
            Body::Neighbours(neighbours) => {
                for (with, difference) in neighbours {
                    let name = match super::rule(with) {
                        Some(_) => format!("[{with}]({with}.md)"),
                        None => escaped(with),
                    };
                    let _ = writeln!(page, "- {name}: {}", escaped(difference));
                }
            }
            Body::Changes(changes) => {
                for advice in changes {
                    let _ = writeln!(
                        page,
                        "- **{}**: {}  \n  Why: {}",
                        name_of(advice.target),
                        escaped(advice.change),
                        escaped(advice.why)
                    );
                }
            }
        }
    }
    page.push_str("\nThis page is written by `WHY502_BLESS=1 cargo test -p tracer-user --lib page` from the rule's definition; `why502 explain ");
    page.push_str(rule.id);
    page.push_str("` prints the same.\n");
    page
}

/// The list of all pages in Markdown, by id.
pub fn index() -> String {
    let mut all: Vec<&Rule> = rules().iter().collect();
    all.sort_by_key(|rule| rule.id);
    let mut page = String::from(
        "# Verdicts\n\nOne page for each verdict that why502 gives: what it means, what it rests on, how to confirm it by hand, what it is taken for, and what to change.\n\n| verdict | meaning |\n|---|---|\n",
    );
    for rule in all {
        let _ = writeln!(
            page,
            "| [{0}]({0}.md) | {1} |",
            rule.id,
            escaped(rule.title)
        );
    }
    page
}

/// The name of an advice's target for readers.
fn name_of(target: &'static str) -> &'static str {
    match target {
        "nginx" => "NGINX",
        "haproxy" => "HAProxy",
        "envoy" => "Envoy",
        "apache" => "Apache httpd",
        "alb" => "AWS Application Load Balancer",
        "nlb" => "AWS Network Load Balancer",
        "app-gateway" => "Azure Application Gateway",
        "front-door" => "Azure Front Door",
        "gcp" => "Google Cloud Application Load Balancer",
        "big-ip" => "F5 BIG-IP",
        other => other,
    }
}

/// Keeps Markdown from reading a meaning into these characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '<' | '`' | '|' | '[') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::diagnose::tests::CONTRACT;

    /// docs/rules/ is what the definitions say. `WHY502_BLESS=1` writes it.
    #[test]
    fn documents_are_those_of_the_rules() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules");
        let pages: Vec<(String, String)> = rules()
            .iter()
            .map(|rule| (format!("{}.md", rule.id), markdown(rule)))
            .chain([("README.md".to_owned(), index())])
            .collect();
        if std::env::var_os("WHY502_BLESS").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            for (name, page) in &pages {
                std::fs::write(dir.join(name), page).unwrap();
            }
        }
        for (name, page) in &pages {
            let found = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
            assert!(
                found == *page,
                "docs/rules/{name} is not what the rule says: WHY502_BLESS=1 cargo test -p tracer-user --lib page"
            );
        }
        let names: BTreeSet<String> = pages.into_iter().map(|(name, _)| name).collect();
        let found: BTreeSet<String> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, names, "docs/rules/ holds other files");
    }

    #[test]
    fn every_change_has_its_group() {
        for rule in rules() {
            let changes: usize = sections(rule)
                .iter()
                .map(|section| match &section.body {
                    Body::Changes(changes) => changes.len(),
                    Body::Text(_) | Body::Points(_) | Body::Neighbours(_) => 0,
                })
                .sum();
            assert_eq!(changes, rule.remedies.len(), "{}", rule.id);
        }
    }

    #[test]
    fn neighbours_are_rules_or_plain_words() {
        for rule in rules() {
            for other in rule.confused_with {
                let is_id = !other.with.contains(' ');
                assert!(
                    !is_id || CONTRACT.contains(&other.with),
                    "{}: {}",
                    rule.id,
                    other.with
                );
            }
        }
    }

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(escaped("a <NOSRV> `x` *"), "a \\<NOSRV> \\`x\\` \\*");
    }
}
