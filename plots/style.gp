# SPDX-License-Identifier: MIT
#
# What every figure shares. Two terminals; byte-identical output for the same data.
SVG = "set terminal svg size 760,440 dynamic noenhanced font 'Helvetica,13' linewidth 1 background 'white'"
PNG = "set terminal pngcairo noenhanced size 1140,660 font 'Helvetica,13' linewidth 1.5 background 'white'"
set encoding utf8
set border 3 lw 1 lc rgb '#444444'
set tics nomirror out scale 0.6
set grid back lc rgb '#dddddd' lw 1 dt solid
set key samplen 2 spacing 1.1
set format '%g'
set title font 'Helvetica,14'
# What the numbers confess, below everything.
NOTE = "at screen 0.01, screen 0.022 left font 'Helvetica,9' textcolor rgb '#777777'"
set bmargin 4.8
