# Listens on a datagram socket as systemd does, and prints each message as one line of JSON: {"at":SECONDS,"sent":["…"]}.
# The descriptor of a barrier (sd_notify_barrier(3)) is not taken, so that the kernel closes it, which answers it.
use strict;
use warnings;
use Socket;
use Time::HiRes qw(time);

my ($path) = @ARGV;
my $address = $path =~ /^@(.*)/s ? "\0$1" : $path;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
# pack_sockaddr_un() would fill an abstract name up with zeros, which then belong to it.
my $name = $path =~ /^@/ ? pack('S a*', AF_UNIX, $address) : pack_sockaddr_un($address);
bind($socket, $name) or die "bind $path: $!";
$| = 1;
print "{\"listening\":true}\n";
while (defined recv($socket, my $message, 65536, 0)) {
    my @lines = map { s/(["\\])/\\$1/gr } split /\n/, $message;
    printf "{\"at\":%.6f,\"sent\":[%s]}\n", time, join ',', map { "\"$_\"" } @lines;
}
