# Tells the machine its own time, as a server of stratum 1 would: nobody outside does.
use strict;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 123, Proto => "udp") or die "$!";
while ($socket->recv(my $question, 48)) {
    # Seconds since 1900, and no fraction.
    my $stamp = pack("NN", time + 2208988800, 0);
    # Version 4, a server; precision of a second; asked at, received at, sent at.
    $socket->send(pack("C4NNa4", 0x24, 1, 6, 0, 0, 0, "LOCL") . $stamp . substr($question, 40, 8) . $stamp . $stamp);
}
