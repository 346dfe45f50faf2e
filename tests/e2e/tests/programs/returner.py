"""Types at an interactive shell on a pseudo-terminal and leaves it; arguments: the command that is the shell."""

import os, pty, re, select, sys, time
pid,fd=pty.fork()
if pid==0:
    os.execvp(sys.argv[1],sys.argv[1:])
buf=b''
def expect(pat,t=10):
    global buf
    end=time.time()+t
    while not re.search(pat,buf):
        r,_,_=select.select([fd],[],[],max(0,end-time.time()))
        if not r: print('TIMEOUT',pat,repr(buf[-600:])); os.kill(pid,9); sys.exit(1)
        try: buf+=os.read(fd,4096)
        except OSError: break
    m=re.search(pat,buf)
    if not m: print('END',pat,repr(buf[-600:])); sys.exit(1)
    buf=buf[m.end():]
def send(s): os.write(fd,s.encode())
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
