//! Nodes that take their place together: bound under temporary names first, so that a change is made or not made.
//!
//! Binding a node can fail in many ways: a group that we are not in, no space, no descriptors. All of them show while
//! the node has its temporary name, `.NAME.new`, beside the place it is for. What is left are renames, and each can be
//! taken back until [`PublishedDirectory::settle`].

use std::os::fd::OwnedFd;

use sys::dir::Dir;

use super::publish::{Access, PublishedDirectory};
use super::{DirectoryError, NODES};

/// A node on its way to its place.
#[derive(Debug)]
pub struct Staged {
    node: String,
    access: Access,
    /// In the node's directory; none for a socket that somebody else bound.
    temporary: Option<String>,
    placed: Placed,
    /// Group and mode that the directory of a declared port had.
    directory_had: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    No,
    /// Nothing was there.
    New,
    /// The node that was there has the temporary name now.
    Exchanged,
}

/// The temporary name of a node, or of the one it replaces.
fn temporary(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether `name` is a temporary name, which a killed daemon may have left.
pub(super) fn is_temporary(name: &str) -> bool {
    let node = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".new"));
    node.is_some_and(|node| NODES.contains(&node))
}

impl PublishedDirectory {
    /// Binds a socket as [`PublishedDirectory::bind`] does, beside the place it is for.
    ///
    /// # Errors
    /// As there; nothing is left then.
    pub fn stage(
        &mut self,
        node: &str,
        kind: sys::unix::SocketKind,
        access: &Access,
    ) -> Result<(OwnedFd, Staged), DirectoryError> {
        let path = self.path().join(node);
        let failed = |error| DirectoryError::io("Making the node", &path, error);
        let mut staged = Staged {
            node: node.to_owned(),
            access: access.clone(),
            temporary: None,
            placed: Placed::No,
            directory_had: None,
        };
        if let Some(socket) = self.adopted(node).map_err(failed)? {
            return Ok((socket, staged));
        }
        let (dir, name) = self.parent_of(node, access).map_err(failed)?;
        let name = temporary(name);
        // One of an earlier change that could not be cleaned up.
        dir.remove(&name).map_err(failed)?;
        let bound = dir.bind(&name, kind).map_err(failed);
        staged.temporary = Some(name.clone());
        let given = bound.and_then(|socket| {
            let given = dir.set_access(&name, access.uid, access.gid, access.mode);
            let failed =
                |error| DirectoryError::io("Setting owner, group and mode of", &path, error);
            given.map_err(failed).map(|()| socket)
        });
        match given {
            Ok(socket) => Ok((socket, staged)),
            Err(error) => {
                self.take_back(staged);
                Err(error)
            }
        }
    }

    /// Puts a staged node in its place, in the same moment in which the one that it replaces leaves it.
    ///
    /// # Errors
    /// When the system refuses it, or something that is not ours is in the place. [`PublishedDirectory::take_back`] is to be
    /// called all the same.
    pub fn put(&mut self, staged: &mut Staged) -> Result<(), DirectoryError> {
        let path = self.path().join(&staged.node);
        let failed = |error| DirectoryError::io("Putting in its place the node", &path, error);
        let Some(temporary) = &staged.temporary else { return Ok(()) };
        let (dir, name) = self.parent_of(&staged.node, &staged.access).map_err(failed)?;
        if staged.node.contains('/') {
            let had = dir.status().map_err(failed)?;
            staged.directory_had = Some((had.gid, had.mode));
            dir.set_owner(None, staged.access.gid)
                .and_then(|()| dir.set_mode(staged.access.directory_mode()))
                .map_err(failed)?;
        }
        if self.is_bound(&staged.node) {
            exchange(&dir, temporary, name).map_err(failed)?;
            staged.placed = Placed::Exchanged;
        } else {
            dir.rename_new(temporary, name).map_err(failed)?;
            staged.placed = Placed::New;
        }
        Ok(())
    }

    /// Undoes staging and putting: whatever was in the place is there again.
    pub fn take_back(&mut self, staged: Staged) {
        let Staged { node, access, temporary, placed, directory_had } = staged;
        let Some(temporary) = temporary else { return };
        let Ok((dir, name)) = self.parent_of(&node, &access) else { return };
        // What cannot be undone now the next start cleans up.
        let _left = match placed {
            Placed::No => dir.remove(&temporary),
            Placed::New => dir.remove(name),
            Placed::Exchanged => {
                exchange(&dir, &temporary, name).and_then(|()| dir.remove(&temporary))
            }
        };
        if let Some((gid, mode)) = directory_had {
            let _left = dir.set_owner(None, Some(gid)).and_then(|()| dir.set_mode(mode));
        }
        self.remove_empty_parents(&node);
    }

    /// The change stands: what the node replaced is removed.
    pub fn settle(&mut self, staged: Staged) {
        if let (Some(temporary), Placed::Exchanged) = (&staged.temporary, staged.placed)
            && let Ok((dir, _)) = self.parent_of(&staged.node, &staged.access)
        {
            let _left = dir.remove(temporary);
        }
        self.note_bound(staged.node);
    }
}

/// Exchanges two nodes; not every file system can do it in one step (rename(2), `RENAME_EXCHANGE`).
fn exchange(dir: &Dir, a: &str, b: &str) -> std::io::Result<()> {
    match dir.exchange(a, b) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            let aside = format!("{a}.old");
            dir.rename_new(b, &aside)?;
            dir.rename_new(a, b)?;
            dir.rename_new(&aside, a)
        }
        done => done,
    }
}
