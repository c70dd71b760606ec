// The least that relays in Go: relay.go PORT TARGET
package main

import (
	"io"
	"net"
	"os"
	"runtime"
)

// Passes on what one end sends, and then its FIN. io.Copy between two sockets uses splice(2).
func pass(to, from *net.TCPConn, done chan<- struct{}) {
	if _, err := io.Copy(to, from); err == nil {
		to.CloseWrite()
	} else {
		to.Close()
		from.Close()
	}
	done <- struct{}{}
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer client.Close()
			target, err := net.Dial("tcp", os.Args[2])
			if err != nil {
				return
			}
			defer target.Close()
			up, down := client.(*net.TCPConn), target.(*net.TCPConn)
			done := make(chan struct{}, 2)
			go pass(down, up, done)
			pass(up, down, done)
			<-done
			<-done
		}()
	}
}
