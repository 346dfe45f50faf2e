"""What the programs that type at an interactive shell have in common; it stands before them."""

import os, pty, re, select, sys, time
buf=b''
def shell(*command):
    global pid,fd
    pid,fd=pty.fork()
    if pid==0: os.execvp(command[0],command)
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
    buf=buf[m.end():]; return m
def send(s): os.write(fd,s.encode())
