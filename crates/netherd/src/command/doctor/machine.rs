//! The machine that we run on, as the checks see it.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use host::names::DEFAULT_NETWORK;

use super::check::Machine;
use super::trial::{self, Trials};

/// Files of the kernel that we look at are shorter, in bytes.
const FILE_MAX: u64 = 4096;

/// This machine, looked at once.
#[derive(Debug)]
pub struct ThisMachine {
    trials: Result<Trials, String>,
}

impl ThisMachine {
    pub fn look() -> ThisMachine {
        ThisMachine { trials: trial::perform() }
    }
}

impl Machine for ThisMachine {
    fn read(&self, path: &str) -> io::Result<String> {
        let text = self.read_all(path)?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    fn read_all(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    fn open(&self, path: &str) -> io::Result<()> {
        File::options().read(true).write(true).open(path).map(drop)
    }

    fn has_program(&self, name: &str) -> bool {
        env::var_os("PATH").is_some_and(|path| {
            env::split_paths(&path).any(|directory| {
                fs::metadata(directory.join(name))
                    .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
            })
        })
    }

    fn uid(&self) -> u32 {
        sys::user::uid()
    }

    fn user(&self) -> String {
        match sys::user::by_uid(self.uid()) {
            Ok(Some(user)) => user.name,
            _ => self.uid().to_string(),
        }
    }

    fn program(&self) -> PathBuf {
        env::current_exe().unwrap_or_else(|_| PathBuf::from("netherd"))
    }

    fn directory(&self) -> Result<PathBuf, String> {
        host::directory::resolve(DEFAULT_NETWORK, None).map_err(|error| error.to_string())
    }

    fn groups(&self) -> Vec<u32> {
        sys::user::groups()
    }

    fn ways_out(&self) -> io::Result<[bool; 2]> {
        /// `RT_TABLE_MAIN`, linux/rtnetlink.h.
        const MAIN: u32 = 254;
        let routes = sys::netlink::Netlink::open()?.routes()?;
        let has = |is_v4| {
            routes.iter().any(|route| {
                route.prefix_len == 0
                    && route.destination.is_ipv4() == is_v4
                    && route.interface.is_some()
                    && route.table == MAIN
            })
        };
        Ok([has(true), has(false)])
    }

    fn trials(&self) -> Result<Trials, String> {
        self.trials.clone()
    }
}
