# Draws a run that `client --series series.csv` has written, as SVG or PNG:
#
#     gnuplot -c tests/neighbours/series.gnuplot series.csv series.svg
#
# Above: the reply times, the wait of the oldest line without a reply, and the
# client's own delay. Below: the rate. Grey: outages.

set datafile separator comma
set terminal svg size 900,480 font "sans-serif,13" background "#ffffff"
if (ARG2[strlen(ARG2)-3:] eq ".png") set terminal pngcairo size 900,480 font "sans,10"
set output ARG2

set multiplot layout 2,1 margins 0.08,0.96,0.10,0.90 spacing 0.06
set key outside top center horizontal Left reverse samplen 1.5 width -2
set border 3
set tics nomirror
stats ARG1 using 1 every ::1 nooutput
set xrange [STATS_min - 1:STATS_max]

# A row is about the time since the row before, and 0 has no logarithm.
last = STATS_max
since(time) = (begin = last < time ? last : time - 1, last = time, begin)
above(value) = value > 0 ? value : NaN
# If an outage is longer than in the row before, it has gone on. Its band lies
# behind the curves, from the bottom to the top.
set y2range [0:1]
length = 0
from(time, now) = (first = length > 0 && now >= length ? first : time - now, length = now, first)
outages = "using (0):(above($10)):(from($1, $10)):(first + $10):(0):(1) every ::1 \
           axes x1y2 with boxxyerror fillstyle solid noborder linecolor '#d8d8d8'"

set ylabel "ms"
set logscale y
set format y "%g"
set xtics time format ""
# Lines that lie behind others are wider, to be seen.
columns = "9 7 6 5 11"
titles = "waiting 'longest reply time' p99 p50 'own delay'"
colours = "#cc79a7 #d55e00 #e69f00 #0072b2 #000000"
widths = "7 4 3 3 2"
plot ARG1 @outages title "outage", for [i=1:5] "" \
     using (since($1)):(above(column(word(columns, i) + 0))):($1 - begin):(0) every ::1 \
     with vectors nohead linewidth word(widths, i) + 0 linecolor rgb word(colours, i) \
     title word(titles, i)

set ylabel "replies/s"
unset logscale y
set yrange [0:*]
set xtics time format "%H:%M:%S"
set xlabel "UTC"
unset key
plot ARG1 @outages, "" using (since($1)):4:($1 - begin):(0) every ::1 \
     with vectors nohead linewidth 3 linecolor "#0072b2"
