# SPDX-License-Identifier: MIT
#
# What every figure shares. Three terminals of one shape; byte-identical output for the same data.
SVG = "set terminal svg size 760,440 dynamic noenhanced font 'Helvetica,13' linewidth 1 background 'white'"
PNG = "set terminal pngcairo noenhanced size 1140,660 font 'Helvetica,13' fontscale 1.5 pointscale 1.5 linewidth 1.5 background 'white'"
PDF = "set terminal pdfcairo noenhanced size 17cm,9.84cm font 'Helvetica,13' fontscale 0.62 pointscale 0.5 linewidth 1.5"
set encoding utf8
set border 3 lw 1 lc rgb '#444444'
set tics nomirror out scale 0.6
set grid back lc rgb '#dddddd' lw 1 dt solid
set key samplen 4 spacing 1.1 Left reverse
set format '%g'
set errorbars 0.6
set title font 'Helvetica,14'
# What the numbers confess, below everything.
NOTE = "left font 'Helvetica,9' textcolor rgb '#666666'"
