"""Gives a tree to a user as `netherd run --map-auto` numbers ids: 0 is the user, 1 and up are subordinate ids.

Arguments: the tree, uid, gid, first subordinate uid, first subordinate gid."""

import os
import stat
import sys

tree = sys.argv[1]
uid, gid, first_uid, first_gid = map(int, sys.argv[2:])


def give(path):
    status = os.lstat(path)
    owner = uid if status.st_uid == 0 else first_uid + status.st_uid - 1
    group = gid if status.st_gid == 0 else first_gid + status.st_gid - 1
    os.lchown(path, owner, group)
    # chown(2) takes the set-user-ID bit away.
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(path, stat.S_IMODE(status.st_mode))


for folder, folders, files in os.walk(tree, topdown=False):
    for name in folders + files:
        give(os.path.join(folder, name))
give(tree)
