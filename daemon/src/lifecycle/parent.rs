//! A daemon of a test, which must not outlive it.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Why imd does not run under this parent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    #[error("the system does not end imd with its parent: {0}")]
    Refused(io::Error),
    #[error("process {0}, with which imd was to end, is not its parent")]
    NotTheParent(u32),
}

/// From here on the kernel kills this process when its parent is gone, even one that hangs.
///
/// To the kernel the parent is the *thread* that started this process: it has to be one that stays.
///
/// # Errors
/// `parent` is not the parent of this process, or has gone already.
pub fn die_with_parent(parent: u32) -> Result<(), ParentError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| ParentError::Refused(errno.into()))?;
    // A parent that went before the call above sends nothing.
    let wanted = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if wanted.is_some() && getppid() == wanted {
        Ok(())
    } else {
        Err(ParentError::NotTheParent(parent))
    }
}
