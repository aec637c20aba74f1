// Package dockerfile knows the Dockerfiles that image extensions generate:
// it parses them, checks them against image_extension.md ("Dockerfile
// Requirements"), reads their arguments and finds their build contexts, and
// explains what is wrong with the file, the line and a caret.
//
// It never runs anything, and it uses no more of BuildKit than its parser, so
// that the programs which only judge Dockerfiles stay small.
package dockerfile
