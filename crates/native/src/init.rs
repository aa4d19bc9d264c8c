//! Create, the helper's half: libcontainer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::Spec;

use crate::answer::Answer;
use crate::error::in_words;
use crate::inherited::Inherited;
use crate::request::CreateRequest;
use crate::terminal::ConsoleSocket;
use crate::{device_directories, executable, stage, terminal};

/// Where libcontainer writes the process id as soon as there is one.
pub(crate) const PID_FILE: &str = "init.pid";

/// Makes the container and says so on `socket`.
pub(crate) fn create(request: &CreateRequest, inherited: Inherited, socket: &OwnedFd) -> Result<(), String> {
    let mut warnings = Vec::new();
    let proc_dir = fs::File::open("/proc").map_err(|e| format!("open /proc: {e}"))?;
    jail::set_oom_score_adj(proc_dir.as_fd(), request.oom_score_adj, &mut warnings)
        .map_err(|e| e.to_string())?;
    stage::binds(&request.directory, &request.binds)?;
    make_working_directory(request);
    let console = request.terminal.then(|| ConsoleSocket::bind(&request.directory)).transpose()?;

    let directory = &request.directory;
    let builder = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_root_path(directory)
        .and_then(|builder| builder.with_pid_file(Some(directory.join(PID_FILE))))
        .map_err(|e| in_words(&e))?
        .with_console_socket(console.as_ref().map(ConsoleSocket::path))
        .with_executor(FirstProgram { home_given: request.home_given, ..FirstProgram::default() });
    let builder = match inherited.stdio {
        Some([stdin, stdout, stderr]) => {
            stage::give_streams(&[&stdin, &stdout, &stderr], request.uid);
            builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr)
        }
        None => builder,
    };
    let built = builder.as_init(directory).with_systemd(false).as_sibling(true).with_detach(true).build();
    let container = built.map_err(|e| in_words(&e))?;
    let pid = container.pid().ok_or("libcontainer named no process")?;
    device_directories::close(pid.as_raw(), &request.device_directories);
    let terminal = console.map(ConsoleSocket::receive).transpose()?;
    if let Some(end) = terminal.as_ref().and_then(|terminal| terminal::peer(terminal).ok()) {
        stage::give_streams(&[&end], request.uid);
    }
    let say = |answer: Answer, fd: Option<&OwnedFd>| {
        answer.send(socket.as_fd(), fd.map(AsFd::as_fd)).map_err(|e| format!("answer the server: {e}"))
    };
    say(Answer::Forked(pid.as_raw()), None)?;
    say(Answer::Ready(warnings), terminal.as_ref())
}

/// As `runc` does. Where it cannot be made, or is below a mount that comes later, changing to it says so.
fn make_working_directory(request: &CreateRequest) {
    if let Ok(root) = pathrs::Root::open(&request.root) {
        let _ = root.mkdir_all(&request.cwd, &fs::Permissions::from_mode(0o755));
    }
}

/// The process that libcontainer made, if any, however far it got.
pub(crate) fn left_over(request: &CreateRequest) -> Option<i32> {
    fs::read_to_string(request.directory.join(PID_FILE)).ok()?.trim().parse().ok()
}

/// Runs the spec's own program. Called by libcontainer inside the container.
#[derive(Debug, Clone, Default)]
struct FirstProgram {
    home_given: bool,
    found: Rc<RefCell<PathBuf>>,
    env: Rc<RefCell<HashMap<String, String>>>,
}

impl Executor for FirstProgram {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = of_spec(spec);
        let args0 = args.first().map(String::as_str).unwrap_or_default();
        let found = executable::find(args0, executable::variable(&env, "PATH"));
        self.found.replace(found.map_err(ExecutorValidationError::ArgValidationError)?);
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        self.env.replace(envs);
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = of_spec(spec);
        let mut env = executable::in_order(self.env.take(), &env);
        if !self.home_given {
            env.retain(|entry| !entry.starts_with("HOME="));
        }
        executable::add_home(&mut env, spec.process().as_ref().map_or(0, |process| process.user().uid()));
        let why = executable::execute(&self.found.borrow(), &args, &env);
        // The server has gone on; whoever reads the container's log wants to know.
        eprintln!("{why}");
        std::process::exit(255)
    }
}

fn of_spec(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
    (args, process.and_then(|process| process.env().clone()).unwrap_or_default())
}
