//! What the kernel says of a process.

use std::fs;

/// CPU time is counted in so many parts of a second: `USER_HZ`, the same on every Linux.
const TICKS: f64 = 100.0;

/// A process as it was at one moment.
#[derive(Clone, Debug)]
pub struct Usage {
    /// How often each thread gave the CPU up of itself: each is a wake-up. By the thread's name.
    pub sleeps: Vec<(String, u64)>,
    /// Seconds of CPU, of all threads that live.
    pub cpu: f64,
}

impl Usage {
    /// All wake-ups.
    #[must_use]
    pub fn all_sleeps(&self) -> u64 {
        self.sleeps.iter().map(|(_, count)| count).sum()
    }
}

/// The memory of a process in KiB, what it shares with others divided by how many share it (PSS).
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn proportional_memory(pid: u32) -> u64 {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    field(&rollup, "Pss:").expect("the kernel tells a process's Pss")
}

/// The memory of a process in KiB, with all that it shares.
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn resident_memory(pid: u32) -> u64 {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    field(&rollup, "Rss:").expect("the kernel tells a process's Rss")
}

/// The memory of a process in KiB, without what it shares.
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn private_memory(pid: u32) -> u64 {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    ["Private_Clean:", "Private_Dirty:"]
        .iter()
        .map(|name| field(&rollup, name).expect("the kernel tells a process's private memory"))
        .sum()
}

/// Wake-ups and CPU of a process so far.
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn usage(pid: u32) -> Usage {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let mut sleeps = Vec::new();
    for task in tasks {
        let path = task.expect("a directory can be read").path();
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(path.join("status")) else {
            continue;
        };
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
        let count = field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
        sleeps.push((name.unwrap_or_default().trim().to_owned(), count));
    }
    let stat = read(&format!("/proc/{pid}/stat"));
    // The name, which may hold anything, stands in parentheses before the numbers.
    let (_, numbers) = stat.rsplit_once(')').expect("a stat line has a name");
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let ticks = |at: usize| numbers.get(at).and_then(|word| word.parse::<f64>().ok());
    let cpu = ticks(11)
        .zip(ticks(12))
        .map(|(user, system)| (user + system) / TICKS);
    Usage {
        sleeps,
        cpu: cpu.expect("a stat line has its times"),
    }
}

/// The nanoseconds that a process was on a CPU, of all threads that live.
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn cpu_nanoseconds(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let pid = std::process::id();
        assert!(proportional_memory(pid) > 0 && private_memory(pid) > 0);
        let before = usage(pid);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(usage(pid).all_sleeps() > before.all_sleeps());
        assert!(cpu_nanoseconds(pid) > 0);
    }
}
