//! Running another program for its words, with a bound on its time.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program may take to say what it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far more than any of them says.
const LONGEST: u64 = 16 << 20;

/// Its stdout.
///
/// # Errors
/// In words: it cannot be started, fails, or does not end in time. It is dead then.
pub fn ask(command: &mut Command) -> Result<String, String> {
    ask_within(PATIENCE, command)
}

fn ask_within(patience: Duration, command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("start {name}: {e}"))?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            outcome => {
                // Fails only if it has ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(e) => format!("wait for {name}: {e}"),
                    _ => format!("{name} did not end within {patience:?}"),
                });
            }
        }
    };
    let said = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    let (stdout, stderr) = (said(stdout), said(stderr));
    match status.success() {
        true => Ok(stdout),
        false => Err(format!("{name} failed ({status}): {}", stderr.trim())),
    }
}

/// Both at once, so that neither pipe runs full.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a failure counts.
            let _ = pipe.take(LONGEST).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<String, String> {
        ask_within(Duration::from_millis(500), Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_program_s_words_and_its_failure_are_told() {
        assert_eq!(sh("echo a").unwrap(), "a\n");
        let failure = sh("echo why >&2; exit 3").unwrap_err();
        assert!(failure.contains("why") && failure.contains('3'), "{failure}");
        assert!(ask(&mut Command::new("/nonexistent")).unwrap_err().contains("/nonexistent"));
    }

    #[test]
    fn one_that_hangs_is_ended() {
        assert!(sh("exec sleep 100").unwrap_err().contains("did not end"));
    }
}
