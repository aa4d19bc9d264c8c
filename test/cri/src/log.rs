//! The format of container logs: `TIME STREAM TAG TEXT`, where the tag `P` says that the line goes on.

/// One line of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// RFC 3339, as it stands there.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the guest's line ends here.
    pub complete: bool,
    /// What the guest wrote.
    pub text: String,
}

/// A log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log(pub Vec<Line>);

impl Log {
    /// Reads one. A last line that is still being written is left out.
    pub fn parse(text: &str) -> Log {
        let complete = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        Log(complete
            .map(|line| Line::parse(line).unwrap_or_else(|| panic!("no line of a log: {line:?}")))
            .collect())
    }

    /// All that went to stdout, as the guest wrote it.
    pub fn stdout(&self) -> String {
        self.stream("stdout")
    }

    /// All that went to stderr, as the guest wrote it.
    pub fn stderr(&self) -> String {
        self.stream("stderr")
    }

    fn stream(&self, name: &str) -> String {
        let lines = self.0.iter().filter(|line| line.stream == name);
        lines.fold(String::new(), |text, line| text + &line.text + if line.complete { "\n" } else { "" })
    }
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut parts = line.splitn(4, ' ');
        let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let complete = match tag {
            "F" => true,
            "P" => false,
            _ => return None,
        };
        Some(Line {
            time: time.to_owned(),
            stream: stream.to_owned(),
            complete,
            text: parts.next().unwrap_or_default().to_owned(),
        })
    }
}
