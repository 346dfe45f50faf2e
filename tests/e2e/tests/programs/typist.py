"""Types at an interactive shell (shell.py); argument: the netherd to run."""

N=sys.argv[1]
shell('bash','--norc','--noprofile','-i')
send("PS1='OUT''ER> '\n"); expect(rb'OUTER> ')
# a stopped command
send(N+" run --name j1 -- sleep 100\n"); time.sleep(1); send('\x1a'); expect(rb'Stopped'); expect(rb'OUTER> ')
send('jobs\n'); expect(rb'Stopped'); expect(rb'OUTER> ')
send('fg\n'); time.sleep(.5); send('\x03'); expect(rb'OUTER> '); send('echo rc=$?\n'); expect(rb'rc=130'); expect(rb'OUTER> ')
print('stopped, continued, interrupted')
# interactive shell inside
send(N+" run --name j2 -- bash --norc --noprofile -i\n"); time.sleep(1); send("PS1='INN''ER> '\n"); expect(rb'INNER> ')
send('sleep 100\n'); time.sleep(.5); send('\x1a'); expect(rb'Stopped'); expect(rb'INNER> ')
send('bg\n'); expect(rb'sleep 100 &'); expect(rb'INNER> '); send('fg\n'); time.sleep(.5); send('\x03'); expect(rb'INNER> ')
send('cat\n'); time.sleep(.3); send('hello\n'); expect(rb'hello\r\nhello'); send('\x04'); expect(rb'INNER> ')
print('a shell inside has jobs of its own')
send('suspend -f\n'); expect(rb'Stopped'); expect(rb'OUTER> '); send('echo ok$((1+1))\n'); expect(rb'ok2'); expect(rb'OUTER> ')
send('fg\n'); time.sleep(.5); send('\n'); expect(rb'INNER> '); send('cat\n'); time.sleep(.3); send('again\n'); expect(rb'again\r\nagain'); send('\x03'); expect(rb'INNER> ')
print('a shell inside is suspended and comes back')
# one that has a group of its own, and does not take the terminal back by itself
send('exec cat\n'); time.sleep(.3); send('one\n'); expect(rb'one\r\none'); send('\x1a'); expect(rb'Stopped'); expect(rb'OUTER> ')
send('fg\n'); time.sleep(.5); send('two\n'); expect(rb'two\r\ntwo'); send('\x04'); expect(rb'OUTER> ')
print('so does a command that is no shell')
send(N+" run --name j2 -- bash --norc --noprofile -i\n"); time.sleep(1); send("PS1='INN''ER> '\n"); expect(rb'INNER> ')
send('exit 9\n'); expect(rb'OUTER> '); send('echo rc=$?\n'); expect(rb'rc=9'); expect(rb'OUTER> ')
send('cat\n'); time.sleep(.3); send('back\n'); expect(rb'back\r\nback'); send('\x04'); expect(rb'OUTER> ')
print('the terminal is the caller\'s again')
send(N+" run --name j3 -- sh -c 'sleep 100' &\n"); expect(rb'OUTER> '); time.sleep(.6); send('kill %1\n'); time.sleep(.5); send('\n'); expect(rb'Terminated'); print('a job in the background is ended')
send(N+" run --name j4 -- sh -c 'read x; echo got $x' &\n"); time.sleep(1); send('\n'); expect(rb'Stopped'); send('fg\n'); time.sleep(.5); send('word\n'); expect(rb'got word'); expect(rb'OUTER> '); print('a job in the background that reads is stopped')
send('exit\n')
