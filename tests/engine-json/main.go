// What the engine understands of a request's body: decodes bodies into the engine's own types and writes what it found.
//
// The types are those of Debian's golang-github-docker-docker-dev (engine 20.10, API 1.41). Fields that later engines
// added are declared here, by the names and types of the API's document (1.42 to 1.51), so that nothing that such an
// engine would read goes unseen.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o engine-json main.go
//
// In and out are frames: one byte, a length of four bytes (big endian), so many bytes. The byte is a shape's number on the
// way in, of which the highest bit asks for strictness: no unknown field, nothing after the value. On the way out it is 1
// for JSON and 0 for the words of an error.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

const strict = 0x80

type healthConfig struct {
	container.HealthConfig
	StartInterval time.Duration `json:",omitempty"`
}

type Config struct {
	container.Config
	Healthcheck *healthConfig `json:",omitempty"`
}

type volumeOptions struct {
	mount.VolumeOptions
	Subpath string `json:",omitempty"`
}

type bindOptions struct {
	mount.BindOptions
	CreateMountpoint       bool `json:",omitempty"`
	ReadOnlyNonRecursive   bool `json:",omitempty"`
	ReadOnlyForceRecursive bool `json:",omitempty"`
}

type tmpfsOptions struct {
	mount.TmpfsOptions
	Options [][]string `json:",omitempty"`
}

type imageOptions struct {
	Subpath string `json:",omitempty"`
}

type mountPoint struct {
	mount.Mount
	BindOptions    *bindOptions   `json:",omitempty"`
	VolumeOptions  *volumeOptions `json:",omitempty"`
	ImageOptions   *imageOptions  `json:",omitempty"`
	TmpfsOptions   *tmpfsOptions  `json:",omitempty"`
	ClusterOptions *struct{}      `json:",omitempty"`
}

type HostConfig struct {
	container.HostConfig
	Annotations  map[string]string `json:",omitempty"`
	Mounts       []mountPoint      `json:",omitempty"`
	Capabilities []string          `json:",omitempty"`
}

type endpoint struct {
	network.EndpointSettings
	GwPriority int      `json:",omitempty"`
	DNSNames   []string `json:",omitempty"`
}

type networking struct {
	EndpointsConfig map[string]*endpoint
}

// As runconfig.ContainerConfigWrapper: what an old client wrote beside HostConfig, and not in it, counts as well.
type create struct {
	*Config
	InnerHostConfig  *HostConfig `json:"HostConfig,omitempty"`
	Cpuset           string      `json:",omitempty"`
	NetworkingConfig *networking `json:"NetworkingConfig,omitempty"`
	*HostConfig
}

type exec struct {
	types.ExecConfig
	ConsoleSize *[2]uint `json:",omitempty"`
}

type execStart struct {
	types.ExecStartCheck
	ConsoleSize *[2]uint `json:",omitempty"`
}

type networkCreate struct {
	types.NetworkCreateRequest
	EnableIPv4 *bool `json:",omitempty"`
	EnableIPv6 *bool `json:",omitempty"`
}

type connect struct {
	Container      string
	EndpointConfig *endpoint `json:",omitempty"`
}

type volumeCreate struct {
	volume.VolumeCreateBody
	ClusterVolumeSpec json.RawMessage `json:",omitempty"`
}

// An empty value of a shape, by its number.
func shape(number byte) (interface{}, error) {
	switch number {
	case 0:
		return new(interface{}), nil
	case 1:
		return new(create), nil
	case 2:
		return new(container.UpdateConfig), nil
	case 3:
		return new(exec), nil
	case 4:
		return new(execStart), nil
	case 5:
		return new(networkCreate), nil
	case 6:
		return new(connect), nil
	case 7:
		return new(types.NetworkDisconnect), nil
	case 8:
		return new(volumeCreate), nil
	}
	return nil, errors.New("no such shape")
}

func understand(number byte, body []byte) ([]byte, error) {
	into, err := shape(number &^ strict)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if number&strict != 0 {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(into); err != nil {
		return nil, err
	}
	if number&strict != 0 {
		if _, err := decoder.Token(); err != io.EOF {
			return nil, errors.New("there is something after the value")
		}
	}
	if any, ok := into.(*interface{}); ok {
		return json.Marshal(tagged(*any))
	}
	return json.Marshal(into)
}

// Numbers as they are written, and apart from texts.
func tagged(value interface{}) interface{} {
	switch value := value.(type) {
	case json.Number:
		return "#" + value.String()
	case string:
		return "=" + value
	case []interface{}:
		for index, item := range value {
			value[index] = tagged(item)
		}
	case map[string]interface{}:
		for key, item := range value {
			value[key] = tagged(item)
		}
	}
	return value
}

func serve(in *bufio.Reader, out *bufio.Writer) error {
	head := make([]byte, 5)
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(in, head); err != nil {
			if err == io.EOF {
				return out.Flush()
			}
			return err
		}
		number := head[0]
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		answer, err := understand(number, body)
		head[0] = 1
		if err != nil {
			head[0], answer = 0, []byte(err.Error())
		}
		binary.BigEndian.PutUint32(head[1:], uint32(len(answer)))
		if _, err := out.Write(append(head, answer...)); err != nil {
			return err
		}
	}
}

func main() {
	if err := serve(bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)); err != nil {
		os.Stderr.WriteString("engine-json: " + err.Error() + "\n")
		os.Exit(1)
	}
}
