//! Tar archives (POSIX.1-1988 ustar), as far as images need them.

/// An archive under construction.
#[derive(Debug, Default, Clone)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.header(path, mode, bytes.len(), b'0', "");
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.header(&format!("{}/", path.trim_end_matches('/')), mode, 0, b'5', "");
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.header(path, 0o777, 0, b'2', target);
    }

    /// The archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8, target: &str) {
        let path = path.trim_start_matches('/');
        assert!(path.len() <= 100 && target.len() <= 100, "too long for ustar: {path} {target}");
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        // Owner and group 0.
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        // Time 0: the same files make the same digest.
        put(136, b"00000000000");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        // The checksum is taken with its own field as blanks.
        put(148, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_host_s_own_tar_reads_what_was_written() {
        let folder = std::env::temp_dir().join(format!("wamr-tar-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut tar = Tar::default();
        tar.directory("/a", 0o755);
        tar.file("/a/file", 0o640, b"text");
        tar.symlink("/a/link", "file");
        std::fs::write(folder.join("x.tar"), tar.finish()).unwrap();
        let status = Command::new("tar").args(["-xf", "x.tar"]).current_dir(&folder).status().unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(folder.join("a/link")).unwrap(), b"text");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
