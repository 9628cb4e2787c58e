"""file-replicator: keep a copy of a directory up to date in any shell you reach.

Usage:
  file-replicator [options] [--exclude PATTERN]... [--include PATTERN]...
                  [--exclude-from FILE]... [--include-from FILE]...
                  [--mirror]... [--each WORD]...
                  SRC_DIR DEST_PARENT_DIR CONNECTION_COMMAND...
  file-replicator [options] @NAME
  file-replicator [options]

Copies SRC_DIR to DEST_PARENT_DIR at the far end, under its own name, then
watches it and sends each change at once, until Ctrl-C. CONNECTION_COMMAND is
any command that gives a shell on its standard input. Nothing is installed at
the far end; it needs a POSIX shell and a tar.

DEST_PARENT_DIR begins with `/`, or with `~`, which is the home directory at
the far end (in quotes, or the shell here puts its own in), or else is relative
to where the shell over there starts. The name is that of SRC_DIR as typed, a
symbolic link's own; that of `.` is the real name of the directory.

@NAME stands for the words in .file-replicator/NAME, in the current directory
or one above: a word a line. A line that begins with # is a comment. Paths are
relative to the directory that .file-replicator is in. Without any words
@default is taken. That folder is not copied.

Options stand before SRC_DIR, or anywhere before a `--`.

Options:
  -n, --dry-run        List what would be sent and removed; change nothing.
  --once               End after the first copy.
  --as NAME            Call the copy NAME, and not as SRC_DIR is called.
  --exclude PATTERN    Leave out what matches too; as a line of .gitignore.
  --mirror             First, also remove what only the destination has.
                       What is ignored stays. More than half of what is there
                       is removed only when this is given twice.
  --on-sync COMMAND    Have sh run COMMAND there after each change.
                       It runs in the destination directory, first after the
                       first copy, one at a time, once for a burst. The file
                       named by $FILEREP_CHANGED lists what has changed since,
                       each path with a NUL behind it; `./` is everything.
  --run COMMAND        Copy, then have sh run COMMAND there, as if it ran here.
                       What it prints comes as it is; its exit status is ours,
                       Ctrl-C reaches it, standard input does not. If one with
                       the same arguments runs, its next sync is waited for,
                       and nothing is copied.
  --wait               Wait until the one that runs has sent all saved by now.
                       The one with the same arguments, that is. No other
                       options are needed with it.
  --save NAME          Only keep these words, for @NAME.
  --help               Show all options; -h shows these.

Options for what is copied:
  --include PATTERN    Copy what matches whatever any other rule says.
  --exclude-from FILE  Leave out what matches a line of FILE.
                       It is a .gitignore, or a .dockerignore (by its name).
  --include-from FILE  Copy what matches a line of FILE.
  --editor-files       Copy editors' swap, lock and backup files too.
  --gitignore          Leave out what git would ignore, and .git (the default).
  --no-gitignore       Copy what git ignores too, and .git.
  --no-delete          Remove nothing at the far end.
  --hold SECONDS       Where more than half of the files, of a hundred or more,
                       go at once, and git did not do it, say so and remove
                       them at the far end only SECONDS later, if they are not
                       back by then. 0 is at once [default: 5].
  --clean-out-first    Empty the destination directory first, completely.
  --with-initial-replication
                       Copy the tree at the start (the default).
  --no-initial-replication
                       Only send what changes from now on.

Options for watching:
  --replicate-on-change
                       Watch, and send each change (the default).
  --no-replicate-on-change
                       End after the first copy, as --once.
  --poll SECONDS       Look for changes every SECONDS rather than use inotify,
                       which is the default where it sees them.
  --watch-with COMMAND
                       Have COMMAND, run in SRC_DIR, print what has changed, as
                       `fswatch -0 -r .` does; see fr-watch --help.
  --audit SECONDS      How often to look for changes that inotify cannot tell.
                       0 is never; the default is every minute, or more rarely
                       in a large tree.

Options for the connection:
  --each WORD...       Copy to many far ends, each WORD in the place of {}:
                       `my_project /srv/app --each web1 web2 -- ssh {} sh`.
                       The words go up to the next option or `--`. {} may also
                       be in DEST_PARENT_DIR and in --as. SRC_DIR is
                       watched once. One that is slow or down delays no other;
                       it is tried again, and catches up. Lines name the WORD;
                       the exit status is the worst.
  --connect-timeout SECONDS
                       How long to wait for the shell to answer [default: 60].
  --keepalive SECONDS  Ask for a sign of life after a silence of SECONDS; three
                       times that without one and the connection is taken for
                       lost. 0 is never [default: 15].
  --retry              Connect again when it is lost (the default).
  --no-retry           End when it is lost.
  --compress           Compress what is sent. The default is to do so where the
                       connection is slow.
  --no-compress        Compress nothing.
  --whole-file         Send whole files. The default is to do so where the
                       connection is fast.
  --no-whole-file      Send nothing that the far end holds already, in parts of
                       the file or under another name.
  --checksum           At the start, compare files by their contents, whatever
                       size and time say. With --dry-run it is the proof that
                       the copy is right.

Options for those that run, or have run:
  --wait-on-sync       As --wait, and until --on-sync has run on all of it.
                       The exit status is that of its COMMAND.
  --status             Say what runs, from where to where, and how it is.
                       With other words, only the one that they start.
  --forget             Remove what is kept of copies whose SRC_DIR is gone.
                       With other words, of that copy: what is removed here
                       before the next start then stays there.

Options for what is said:
  -q, --quiet          Only say what is wrong.
  -v, --verbose        Say what was found at the far end, what was decided, and
                       how files went: whole, compressed, in pieces; or made of
                       what was there: in parts, copied, moved, touched.
  --debugging          Say everything, for those who work on it.
  --events FD|FILE     Write a line of JSON to descriptor FD, or FILE, for each
                       thing that happens: see docs/events.md. It never waits
                       for who reads; what is not read in time is left out, and
                       counted.
  -V, --version        Show the version.

Exit status:
  0    the destination was made the same (--once, --wait)
  1    the same, but some paths could not be read, each with a message; or
       there is something to be done (--dry-run --once), or one that runs is
       not in sync (--status)
  64   wrong usage
  66   SRC_DIR cannot be used, or was moved, deleted or unmounted
  69   the connection or the far end failed, or refused some of the files; none
       runs that could be waited for, or another runs already
  70   a bug
  71   the system refused: no process, no descriptor, no memory, a bad disk
  74   what it prints could not be written

Ctrl-C, SIGTERM and SIGHUP end it by the signal itself, once the far end is
tidied up; a shell shows that as 130, 143 and 129. What has not arrived by then
is named.

Files:
  $XDG_STATE_HOME/file-replicator  (~/.local/state) what was sent, so that what
       is removed here while nothing runs is removed there at the next start
  .file-replicator/NAME  words for @NAME

Examples:
  file-replicator my_project /tmp bash
  file-replicator my_project '~/code' -- ssh host sh
  file-replicator my_project /home/code -- docker exec -i my_container sh
  file-replicator . /app -- kubectl exec -i my_pod -- sh
"""

from __future__ import annotations

from filerep import command
from filerep.command import Command
from filerep.wrapper.commandline import Typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    typed = Typed()

    def body(run: Command) -> int:
        from filerep.wrapper import running  # what --help does without

        return running.main(run, typed)

    return command.run(
        "file-replicator", __doc__ or command.usage(__spec__), body, argv, typed.arrange
    )


if __name__ == "__main__":
    command.leave(main())
