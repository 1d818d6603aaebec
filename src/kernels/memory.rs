//! Memory that this process may still take.

/// Bytes that can be had without the system or a container ending the process: the least of what the machine has left,
/// what the process's control groups allow and what its address space does. Pages of files count as free, since
/// they can be read again. `None` where the system does not tell.
#[must_use]
pub fn available() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::available();
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::read_to_string;
    use std::path::{Path, PathBuf};

    pub fn available() -> Option<u64> {
        let machine = read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemAvailable:"));
        let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
        [machine, groups_left(&groups, Path::new("/sys/fs/cgroup")), address_space_left()].into_iter().flatten().min()
    }

    /// The number behind a name of `/proc`'s tables, in bytes.
    fn kilobytes(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// What the limit of the address space (`ulimit -v`) leaves.
    fn address_space_left() -> Option<u64> {
        let limits = read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        let most: u64 = line.split_whitespace().next()?.parse().ok()?;
        let used = kilobytes(&read_to_string("/proc/self/status").ok()?, "VmSize:")?;
        Some(most.saturating_sub(used))
    }

    /// What the groups in `/proc/self/cgroup` and those above them leave, of version 2 and of version 1.
    pub fn groups_left(groups: &str, root: &Path) -> Option<u64> {
        groups
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                if controllers.is_empty() {
                    let files = ["memory.max", "memory.current"];
                    Some((root.to_owned(), path, files, ["file ", "shmem "]))
                } else if controllers.split(',').any(|one| one == "memory") {
                    let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                    Some((root.join("memory"), path, files, ["total_cache ", "total_shmem "]))
                } else {
                    None
                }
            })
            .flat_map(|(root, path, files, names)| {
                let own = root.join(path.trim_start_matches('/'));
                let above: Vec<PathBuf> =
                    own.ancestors().take_while(|at| at.starts_with(&root)).map(Path::to_owned).collect();
                above.into_iter().filter_map(move |group| group_left(&group, files, names))
            })
            .min()
    }

    /// What one group leaves. Its pages of files can go, which `memory.stat` has behind the first name, but for those of
    /// files that are nowhere but in memory, behind the second.
    fn group_left(group: &Path, [limit, usage]: [&str; 2], [cached, shared]: [&str; 2]) -> Option<u64> {
        let number = |name: &str| read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
        let of = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let droppable = of(cached).unwrap_or(0).saturating_sub(of(shared).unwrap_or(0));
        // A group without a limit says "max", or a number that is larger than any memory.
        Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(droppable)))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn group(root: &Path, path: &str, files: [(&str, &str); 3]) {
            let directory = root.join(path);
            std::fs::create_dir_all(&directory).expect("it is ours");
            for (name, text) in files {
                std::fs::write(directory.join(name), text).expect("it is ours");
            }
        }

        #[test]
        fn the_tightest_group_counts_and_pages_of_files_can_go() {
            let root = tempfile::tempdir().expect("there is room");
            let v2 = |limit, usage, stat| [("memory.max", limit), ("memory.current", usage), ("memory.stat", stat)];
            group(root.path(), "a", v2("1000\n", "900\n", "anon 100\nfile 520\nfile_mapped 7\nshmem 20\n"));
            group(root.path(), "a/b", v2("max\n", "50\n", "file 1\n"));
            assert_eq!(groups_left("0::/a/b\n", root.path()), Some(600));
            group(root.path(), "a/b", v2("120\n", "50\n", "anon 40\n"));
            assert_eq!(groups_left("0::/a/b\n", root.path()), Some(70));
            // Version 1 has a tree for each controller.
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"];
            group(
                root.path(),
                "memory/c",
                std::array::from_fn(|at| (files[at], ["90", "80", "total_cache 35\ntotal_shmem 5"][at])),
            );
            assert_eq!(groups_left("5:cpu,memory:/c\n4:pids:/a/b\n", root.path()), Some(40));
            assert_eq!(groups_left("4:pids:/a/b\n", root.path()), None);
            assert_eq!(groups_left("nonsense\n0::/not/there", root.path()), None);
        }

        #[test]
        fn names_of_tables_are_whole() {
            assert_eq!(kilobytes("MemTotal: 7 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12 << 10));
            assert_eq!(kilobytes("MemTotal: 7 kB\n", "MemAvailable:"), None);
        }

        #[test]
        fn this_machine_has_memory_left() {
            assert!(super::super::available().is_none_or(|bytes| bytes > 1 << 20));
        }
    }
}
