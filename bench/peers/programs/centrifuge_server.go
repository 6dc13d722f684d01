// Centrifugo's core, the Go library centrifuge: sign in by JWT, subscribe, publish, rpc.
package main

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt"
)

func user(token string) (string, error) {
	claims := jwt.StandardClaims{}
	_, err := jwt.ParseWithClaims(token, &claims, func(parsed *jwt.Token) (interface{}, error) {
		if parsed.Method != jwt.SigningMethodHS256 {
			return nil, jwt.ErrSignatureInvalid
		}
		return []byte(os.Getenv("BENCH_SECRET")), nil
	})
	return claims.Subject, err
}

func main() {
	node, err := centrifuge.New(centrifuge.DefaultConfig)
	if err != nil {
		panic(err)
	}
	node.OnConnecting(func(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		name, err := user(event.Token)
		if err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: name}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
		client.OnRPC(func(event centrifuge.RPCEvent, answer centrifuge.RPCCallback) {
			answer(centrifuge.RPCReply{Data: event.Data}, nil)
		})
	})
	if err := node.Run(); err != nil {
		panic(err)
	}
	// Its ping frames are off like everybody's.
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{PingInterval: -1}))
	http.HandleFunc("/publish", func(response http.ResponseWriter, request *http.Request) {
		count, _ := strconv.Atoi(request.FormValue("count"))
		size, _ := strconv.Atoi(request.FormValue("size"))
		content := []byte("\"^" + strings.Repeat("x", size-3) + "\"")
		for ; count > 0; count-- {
			if _, err := node.Publish("bench", content); err != nil {
				http.Error(response, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		_, _ = response.Write([]byte("{}"))
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
