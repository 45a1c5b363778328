//! Which files a proxy was started with, from its command line.

use std::path::{Path, PathBuf};

/// Where distributions put it.
const NGINX_CONF: &str = "/etc/nginx/nginx.conf";
const HAPROXY_CFG: &str = "/etc/haproxy/haproxy.cfg";

/// What a process of NGINX says about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nginx {
    /// It was started with these; `-c` and `-p`.
    Server {
        conf: Option<String>,
        prefix: Option<String>,
    },
    /// A worker: its parent knows.
    Worker,
    /// A test of a configuration, or a signal to a running server.
    Other,
}

/// Reads the command line as `ngx_get_options` does. A master shows its arguments in one text behind
/// `nginx: master process`, words set apart by blanks.
pub(super) fn nginx(arguments: &[String]) -> Nginx {
    let first = arguments.first().map_or("", String::as_str);
    let title: Vec<String>;
    let arguments = match first.strip_prefix("nginx: ") {
        None => arguments,
        Some(rest) => match rest.strip_prefix("master process ") {
            None => return Nginx::Worker,
            Some(line) => {
                title = line.split_whitespace().map(str::to_owned).collect();
                &title
            }
        },
    };
    let (mut conf, mut prefix) = (None, None);
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-') else {
            continue;
        };
        for (at, letter) in letters.char_indices() {
            let place = match letter {
                'p' => &mut prefix,
                'c' => &mut conf,
                'e' | 'g' => &mut None,
                'q' => continue,
                // -t, -T: a test; -s: a signal; -v, -V, -h: a question.
                _ => return Nginx::Other,
            };
            let attached = &letters[at + letter.len_utf8()..];
            *place = match attached {
                "" => rest.next().cloned(),
                attached => Some(attached.to_owned()),
            };
            break;
        }
    }
    Nginx::Server { conf, prefix }
}

/// The places where the main file may be, likeliest first; all are absolute. `exe` is the program,
/// `cwd` the working directory of the process.
pub(super) fn nginx_files(
    conf: Option<&str>,
    prefix: Option<&str>,
    exe: Option<&Path>,
    cwd: &Path,
) -> Vec<PathBuf> {
    // `<prefix>/sbin/nginx` and `<prefix>/conf/nginx.conf`: the layout of NGINX's own build.
    let built_in = exe
        .and_then(|exe| exe.parent()?.parent())
        .filter(|prefix| *prefix != Path::new("/usr"))
        .map(Path::to_owned);
    let prefix = prefix.map(|prefix| cwd.join(prefix));
    let conf = Path::new(conf.unwrap_or_default());
    if conf.is_absolute() {
        return vec![conf.to_owned()];
    }
    if !conf.as_os_str().is_empty() {
        // Relative to the prefix; the built-in one is not known for sure.
        let prefixes = match prefix {
            Some(prefix) => vec![prefix],
            None => {
                let packaged = ["/etc/nginx", "/usr/share/nginx"].map(PathBuf::from);
                built_in.into_iter().chain(packaged).collect()
            }
        };
        return prefixes.iter().map(|prefix| prefix.join(conf)).collect();
    }
    let under = prefix.into_iter().chain(built_in);
    under
        .map(|prefix| prefix.join("conf/nginx.conf"))
        .chain([PathBuf::from(NGINX_CONF)])
        .collect()
}

/// The files that HAProxy was started with: `-f` any number of times, and all that follows `--`; `-C`
/// names the directory that relative ones are relative to. `None` for a check or a question.
pub(super) fn haproxy(arguments: &[String], cwd: &Path) -> Option<Vec<PathBuf>> {
    let mut files: Vec<&str> = Vec::new();
    let mut base = cwd.to_owned();
    let mut rest = arguments.iter().skip(1).map(String::as_str).peekable();
    while let Some(argument) = rest.next() {
        match argument {
            "--" => files.extend(rest.by_ref()),
            "-f" => files.extend(rest.next()),
            "-C" => base.push(rest.next()?),
            "-c" | "-cc" | "-h" => return None,
            flag if flag.starts_with("-v") => return None,
            "-n" | "-m" | "-N" | "-L" | "-p" | "-S" | "-x" => drop(rest.next()),
            // Lists of process ids, and flags without a value.
            _ => {}
        }
    }
    if files.is_empty() {
        files.push(HAPROXY_CFG);
    }
    Some(files.into_iter().map(|file| base.join(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn nginx_command_lines() {
        let server = |conf: Option<&str>, prefix: Option<&str>| Nginx::Server {
            conf: conf.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
        };
        for (line, want) in [
            ("nginx", server(None, None)),
            ("nginx|-c|/a.conf", server(Some("/a.conf"), None)),
            (
                "nginx|-c/a.conf|-p|/srv",
                server(Some("/a.conf"), Some("/srv")),
            ),
            ("nginx|-g|daemon off;|-qc|a", server(Some("a"), None)),
            (
                "nginx: master process /usr/sbin/nginx -g daemon off; -c /x/n.conf",
                server(Some("/x/n.conf"), None),
            ),
            ("nginx: worker process", Nginx::Worker),
            ("nginx: cache manager process", Nginx::Worker),
            ("nginx|-t|-c|/a.conf", Nginx::Other),
            ("nginx|-tc|/a.conf", Nginx::Other),
            ("nginx|-s|reload", Nginx::Other),
            ("nginx|-V", Nginx::Other),
            ("nginx|-c", server(None, None)),
            ("", server(None, None)),
        ] {
            assert_eq!(nginx(&arguments(line)), want, "{line}");
        }
    }

    #[test]
    fn nginx_places() {
        let debian = Some(Path::new("/usr/sbin/nginx"));
        let own = Some(Path::new("/usr/local/openresty/nginx/sbin/nginx"));
        for (conf, prefix, exe, want) in [
            (Some("/a.conf"), None, debian, "/a.conf"),
            (None, None, debian, "/etc/nginx/nginx.conf"),
            (
                None,
                None,
                own,
                "/usr/local/openresty/nginx/conf/nginx.conf /etc/nginx/nginx.conf",
            ),
            (Some("a.conf"), Some("/srv"), own, "/srv/a.conf"),
            (Some("a.conf"), Some("rel"), own, "/cwd/rel/a.conf"),
            (
                None,
                Some("/srv"),
                debian,
                "/srv/conf/nginx.conf /etc/nginx/nginx.conf",
            ),
            (
                Some("a.conf"),
                None,
                debian,
                "/etc/nginx/a.conf /usr/share/nginx/a.conf",
            ),
            (None, None, None, "/etc/nginx/nginx.conf"),
        ] {
            let files = nginx_files(conf, prefix, exe, Path::new("/cwd"));
            let got: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
            assert_eq!(got.join(" "), want, "{conf:?} {prefix:?} {exe:?}");
        }
    }

    #[test]
    fn haproxy_command_lines() {
        for (line, want) in [
            ("haproxy", Some("/etc/haproxy/haproxy.cfg")),
            ("haproxy|-f|/a.cfg", Some("/a.cfg")),
            (
                "haproxy|-Ws|-f|/a.cfg|-f|b|-p|/run/h.pid|-S|/run/m.sock",
                Some("/a.cfg /cwd/b"),
            ),
            ("haproxy|-C|/etc/h|-f|a.cfg|-sf|12|13", Some("/etc/h/a.cfg")),
            ("haproxy|-D|--|/a|/b", Some("/a /b")),
            ("haproxy|-c|-f|/a.cfg", None),
            ("haproxy|-vv", None),
            ("haproxy|-f", Some("/etc/haproxy/haproxy.cfg")),
        ] {
            let files = haproxy(&arguments(line), Path::new("/cwd"));
            let got = files.map(|files| {
                let texts: Vec<_> = files.iter().map(|f| f.to_string_lossy()).collect();
                texts.join(" ")
            });
            assert_eq!(got.as_deref(), want, "{line}");
        }
    }
}
