#!/usr/bin/perl
# Folds the output of `perf script` (standard input) into stacks and draws them as an SVG flame graph (standard
# output). With --folded it prints "frame;frame;frame count" lines instead, which other tools understand.
#
# The idea is Brendan Gregg's (https://www.brendangregg.com/flamegraphs.html); this is a small version that needs
# nothing but the perl that every Debian and Ubuntu has. Width is time; a frame stands on its caller.
use strict;
use warnings;

my ($folded_only, $title) = (0, 'flame graph');
while (@ARGV) {
    my $option = shift @ARGV;
    if    ($option eq '--folded') { $folded_only = 1 }
    elsif ($option eq '--title')  { $title = shift @ARGV }
    else                          { die "fold-and-draw.pl: unknown option $option\n" }
}

# A sample is a header line, frames from the innermost outwards, and an empty line.
my (%stacks, @frames, $inside, $command);
sub finish {
    if ($inside) {
        push @frames, $command;
        $stacks{ join ';', reverse @frames }++;
    }
    @frames = ();
    $inside = 0;
}
while (my $line = <STDIN>) {
    chomp $line;
    next if $line =~ /^#/;
    if ($line =~ /^\s*$/) { finish(); next }
    if (!$inside) {
        $inside = 1;
        ($command) = $line =~ /^\s*(.+?)\s+\d+(?:\/\d+)?\s/;
        $command = 'unknown' unless defined $command;
        next;
    }
    my ($name) = $line =~ /^\s*[0-9a-f]+\s+(.*?)(?:\s+\([^()]*\))?$/;
    next unless defined $name;
    $name =~ s/\+0x[0-9a-f]+$//;
    $name =~ s/::h[0-9a-f]{16}$//;
    $name =~ s/;/:/g;
    $name = '[unknown]' if $name eq '';
    push @frames, $name;
}
finish();

my $total = 0;
$total += $_ for values %stacks;
die "fold-and-draw.pl: no samples: did perf record any, with call graphs?\n" unless $total;
if ($folded_only) {
    print "$_ $stacks{$_}\n" for sort keys %stacks;
    exit 0;
}

# Neighbouring stacks share frames as far as they agree: a trie, children in order of name.
my $root = { count => 0, children => {} };
for my $stack (keys %stacks) {
    my $node = $root;
    $node->{count} += $stacks{$stack};
    for my $frame (split /;/, $stack) {
        $node = $node->{children}{$frame} //= { count => 0, children => {} };
        $node->{count} += $stacks{$stack};
    }
}
my ($width, $row, $smallest) = (1400, 17, 0.3);
my (@boxes, $deepest);
$deepest = 0;
sub place {
    my ($node, $x, $depth) = @_;
    for my $name (sort keys %{ $node->{children} }) {
        my $child = $node->{children}{$name};
        my $w = $child->{count} / $total * ($width - 20);
        if ($w >= $smallest) {
            push @boxes, [$x, $w, $depth, $name, $child->{count}];
            $deepest = $depth if $depth > $deepest;
            place($child, $x, $depth + 1);
        }
        $x += $w;
    }
}
{ no warnings 'recursion'; place($root, 10, 0); }

sub escape { my $t = shift; $t =~ s/&/&amp;/g; $t =~ s/</&lt;/g; $t =~ s/>/&gt;/g; $t =~ s/"/&quot;/g; return $t }
my $height = ($deepest + 1) * $row + 60;
$title = escape($title);
print <<"SVG";
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" font-family="monospace" font-size="11">
<style>rect{stroke:#fff;stroke-width:.5}text{pointer-events:none}g:hover rect{stroke:#000}</style>
<rect width="100%" height="100%" fill="#fdf6ec"/>
<text x="10" y="20" font-size="15">$title: $total samples</text>
SVG
for my $box (@boxes) {
    my ($x, $w, $depth, $name, $count) = @$box;
    my $y = $height - 20 - ($depth + 1) * $row;
    # One colour per name, so that a frame is found again in another graph; kernel frames are cooler.
    my $hash = 0;
    $hash = ($hash * 31 + ord $_) & 0xffff for split //, $name;
    my $colour = sprintf 'rgb(%d,%d,%d)', 205 + $hash % 50, 90 + ($hash >> 3) % 120, ($hash >> 7) % 60;
    my $text = escape($name);
    my $fits = int(($w - 4) / 6.7);
    my $label = length $name <= $fits ? $text : $fits > 3 ? escape(substr($name, 0, $fits - 2)) . '..' : '';
    printf qq{<g><title>%s: %d samples, %.2f%%</title><rect x="%.1f" y="%d" width="%.2f" height="%d" fill="%s"/>},
        $text, $count, 100 * $count / $total, $x, $y, $w, $row - 1, $colour;
    printf qq{<text x="%.1f" y="%d">%s</text>}, $x + 2, $y + 12, $label if $label ne '';
    print "</g>\n";
}
print "</svg>\n";
