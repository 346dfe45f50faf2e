"""Types at an interactive shell (shell.py) and leaves it; arguments: the command that is the shell."""

shell(*sys.argv[1:])
send("PS1='INN''ER> '\n"); expect(rb'INNER> ')
send('cat\n'); time.sleep(.3); send('hello\n'); expect(rb'hello\r\nhello'); send('\x04'); expect(rb'INNER> ')
print('a job of its own')
send('sleep 100\n'); time.sleep(.5); send('\x1a'); expect(rb'Stopped'); expect(rb'INNER> ')
send('fg\n'); time.sleep(.5); send('\x03'); expect(rb'INNER> ')
print('suspended, and back')
send('exit 7\n')
while True:
    try: more=os.read(fd,4096)
    except OSError: break
    if not more: break
    buf+=more
if b'Cannot' in buf or b'cannot' in buf: print(repr(buf))
print('ended with',os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
